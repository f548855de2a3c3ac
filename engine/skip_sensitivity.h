#pragma once
// How much a model's answer feels that a layer leaves weak experts out, and how much each layer may
// leave out for that.
//
// AdapMoE (arXiv 2408.10284) weighs what is left out by the Fisher information of the layer's
// output: the mean of (gradient of the loss · change of the output)². The gradient is not needed to
// know that product: it is, for a small change, how much the loss changes. So the text is read once
// as it is and once for each layer with that layer's weak experts left out, and the sensitivity is
// the root of the mean square change of the tokens' losses, by share of weight left out.

#include <atomic>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "engine/session.h"
#include "layers/model_description.h"

namespace sluice {

/// `[layers]`, each above 0, 1 on average over sparse layers and for the others; in windows of the
/// session's context, whose tokens are gone then. kCancelled when `cancel` says so.
/// REQUIRES: the model has no approximations of its own.
Result<std::vector<float>> measure_skip_sensitivities(Session& session,
                                                      std::span<const TokenId> text,
                                                      const std::atomic<bool>* cancel);

/// `[layers]`: the share of a row's weights that each may leave out, so that all are felt alike and
/// sparse layers leave out `skip` on average. No sensitivities: `skip` everywhere.
std::vector<float> skip_limits(float skip, const ModelDescription& model,
                               std::span<const float> sensitivities);

}  // namespace sluice

#pragma once
// Attention over a whole sequence at once, as the publications define it: no cache, every score of
// every pair of positions.

#include <cstddef>

#include "layers/model_description.h"
#include "tests/engine/reference_math.h"

namespace sluice::test {

/// What a layer's attention adds for each position, from its normalised input. `context`: positions
/// that the session was opened for. Multi-head latent attention (arXiv 2405.04434) makes every
/// head's keys and values from the latents, which the engine never does.
Sequence reference_attention(const ModelDescription& model, const AttentionDescription& attention,
                             const TensorView& tensors, const Sequence& input, std::size_t context);

/// The same of a gated delta net (arXiv 2412.06464), as its recurrence stands in the paper.
Sequence reference_delta_net(const ModelDescription& model, const TensorView& tensors,
                             const Sequence& input);

}  // namespace sluice::test

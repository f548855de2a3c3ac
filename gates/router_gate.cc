#include "gates/router_gate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/tasks.h"

namespace sluice {

RouterGate::RouterGate(const ModelDescription& model, const std::vector<LayerWeights>& weights,
                       Compute& compute, const GateMemory& memory, GateInput input,
                       std::uint32_t ahead)
    : model_(model),
      weights_(weights),
      compute_(compute),
      memory_(memory),
      input_(input),
      ahead_(ahead),
      corrections_(model.layers.size()),
      router_(model.router),
      scores_(model.router.experts),
      chosen_(model.router.top_k),
      chosen_weights_(model.router.top_k) {}

std::string_view RouterGate::name() const {
  return input_ == GateInput::kLayerInput ? "before attention" : "across layers";
}

bool RouterGate::speaks(const GateEvidence& evidence, std::uint32_t target) const {
  if (target >= model_.layers.size() || !model_.layers[target].sparse) return false;
  if (input_ == GateInput::kLayerInput) {
    return evidence.layer_input != nullptr && target + 1 == evidence.layer + ahead_;
  }
  return evidence.router_input != nullptr && target == evidence.layer + ahead_;
}

const float* RouterGate::prepare(const GateEvidence& evidence, std::uint32_t target) {
  if (input_ == GateInput::kRouterInput) return evidence.router_input;
  return make_router_input(model_, weights_[target], compute_, evidence.layer_input, evidence.rows,
                           memory_.input);
}

bool RouterGate::predict(const GateEvidence& evidence, std::uint32_t target) {
  if (!speaks(evidence, target)) return false;
  target_ = target;
  inputs_ = prepare(evidence, target);
  const RouterWeights& router = weights_[target].router;
  const GateCorrection& correction = corrections_[target];
  const bool corrected = correction.present();
  const WeightMatrix& matrix = corrected ? correction.matrix : router.matrix;
  const bool coded = matrix.format->quantised() && evidence.rows <= coded_.rows;
  Activations rows = coded ? coded_ : Activations{};
  rows.values = const_cast<float*>(inputs_);  // for reading only
  rows.rows = evidence.rows;
  rows.columns = model_.hidden;
  if (coded) compute_.quantise(rows, evidence.rows);
  const MatmulTask task = product(matrix, rows, evidence.rows, memory_.scores,
                                  corrected ? correction.bias : router.bias);
  compute_.matmul({&task, 1});
  return true;
}

/// The choice that the router would make, then the others in the order of their scores.
void RouterGate::rank(std::size_t row, std::span<std::uint32_t> likely) {
  const std::size_t experts = model_.router.experts;
  std::copy_n(memory_.scores + row * experts, experts, scores_.begin());
  const float* const bias = weights_[target_].router.selection_bias;
  router_.choose(scores_, bias, chosen_.data(), chosen_weights_.data());
  if (bias != nullptr) {
    for (std::size_t i = 0; i < experts; ++i) scores_[i] += bias[i];
  }
  std::sort(chosen_.begin(), chosen_.end(), [this](std::uint32_t a, std::uint32_t b) {
    return scores_[a] != scores_[b] ? scores_[a] > scores_[b] : a < b;
  });
  const std::size_t first = std::min(likely.size(), chosen_.size());
  std::copy_n(chosen_.begin(), first, likely.begin());
  if (likely.size() == first) return;
  for (const std::uint32_t expert : chosen_) {
    scores_[expert] = -std::numeric_limits<float>::infinity();
  }
  rank_scores(scores_, likely.subspan(first));
}

}  // namespace sluice

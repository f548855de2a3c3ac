#pragma once
// Corrections that foretell nothing: of random numbers.

#include <random>
#include <utility>
#include <vector>

#include "gates/fitted_gate.h"

namespace sluice::test {

/// From both inputs, for each pair of how far is looked and whose router is foretold.
inline std::vector<FittedGate> random_gates(
    const ModelDescription& model,
    const std::vector<std::pair<std::uint32_t, std::uint32_t>>& places, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number(0.0f, 0.3f);
  std::vector<FittedGate> gates;
  for (const GateInput input : {GateInput::kLayerInput, GateInput::kRouterInput}) {
    for (const auto& [ahead, layer] : places) {
      FittedGate& gate = gates.emplace_back();
      gate.input = input;
      gate.ahead = ahead;
      gate.layer = layer;
      gate.matrix.resize(std::size_t{model.router.experts} * model.hidden);
      gate.bias.resize(model.router.experts);
      for (float& value : gate.matrix) value = number(random);
      for (float& value : gate.bias) value = number(random);
    }
  }
  return gates;
}

}  // namespace sluice::test

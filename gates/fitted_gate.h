#pragma once

#include <cstdint>
#include <vector>

#include "gates/router_gate.h"

namespace sluice {

/// A correction of a router gate, as it was fitted: `[experts, hidden]` and `[experts]`.
struct FittedGate {
  GateInput input = GateInput::kLayerInput;
  std::uint32_t ahead = 1;
  std::uint32_t layer = 0;  // whose router it foretells
  std::vector<float> matrix;
  std::vector<float> bias;
};

}  // namespace sluice

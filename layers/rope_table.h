#pragma once
// Cosines and sines of rotary positions.

#include <cstdint>
#include <span>
#include <vector>

#include "layers/model_description.h"

namespace sluice {

/// Immutable after construction.
class RopeTable {
 public:
  /// Frequencies are computed in float32, as the models' own code does: the angles of far positions
  /// depend on it. `context`: positions of the session; LongRoPE's factors follow it.
  RopeTable(const RopeDescription& rope, std::size_t context);

  std::size_t pairs() const { return frequencies_.size(); }
  /// cosines, sines `[positions.size(), pairs()]`.
  void fill(std::span<const std::uint32_t> positions, float* cosines, float* sines) const;

 private:
  std::vector<float> frequencies_;  // radians per position
  float magnitude_ = 1.0f;          // the attention factor
};

}  // namespace sluice

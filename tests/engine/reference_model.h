#pragma once
// A forward pass in double precision, written from what the fields of ModelDescription mean
// (layers/model_description.h, formats/settings.cc) and from the methods' publications: the whole
// sequence at once, a loop over its positions wherever one will do, and no code of the engine's.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/types.h"
#include "layers/model_description.h"
#include "tests/engine/reference_experts.h"
#include "tests/engine/reference_math.h"

namespace sluice::test {

/// What one expert's matrices read.
struct ReferenceReadings {
  std::size_t rows = 0;
  Vector inputs, hidden;  // of each column the sum of the squares: of gate and up, and of down
};

struct ReferenceResult {
  std::vector<Vector> logits;                                        // [positions][vocabulary]
  std::map<std::uint32_t, std::vector<ReferenceChoice>> choices;     // sparse layer → [positions]
  std::map<std::uint32_t, std::vector<ReferenceReadings>> readings;  // sparse layer → [experts]
};

/// `context`: positions that the session is opened for. Throws std::out_of_range where a tensor is
/// missing.
ReferenceResult run_reference(const ModelDescription& model, const NamedTensors& tensors,
                              std::span<const TokenId> tokens, std::size_t context);

}  // namespace sluice::test

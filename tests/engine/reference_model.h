#pragma once
// A forward pass in double precision, written from what the fields of ModelDescription mean
// (engine/model_description.h, formats/settings.cc) and from the methods' publications: the whole
// sequence at once, a loop over its positions wherever one will do, and no code of the engine's.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/types.h"
#include "engine/model_description.h"
#include "tests/engine/reference_experts.h"
#include "tests/engine/reference_math.h"

namespace sluice::test {

struct ReferenceResult {
  std::vector<Vector> logits;                                     // [positions][vocabulary]
  std::map<std::uint32_t, std::vector<ReferenceChoice>> choices;  // sparse layer → [positions]
};

/// `context`: positions that the session is opened for. Throws std::out_of_range where a tensor is
/// missing.
ReferenceResult run_reference(const ModelDescription& model, const NamedTensors& tensors,
                              std::span<const TokenId> tokens, std::size_t context);

}  // namespace sluice::test

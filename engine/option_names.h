#pragma once
// Options by the names that people give them, whichever way they come: kInvalidArgument lists what
// there is.

#include <string_view>

#include "base/operations.h"
#include "base/status.h"

namespace sluice {

/// "f32", "f16" or "q8_0".
Result<KvType> parse_kv_type(std::string_view name);
/// Of activations that meet quantised weights: whether "f32", else "q8".
Result<bool> parse_compute(std::string_view name);
/// Bits of experts, as ExpertCatalogue has them: "exact", "auto" or one of expert_widths().
Result<unsigned> parse_width(std::string_view name);

}  // namespace sluice

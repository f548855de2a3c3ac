#pragma once
// Where experts are computed when there is a device beside the CPU.

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace sluice {

struct Placement {
  enum class Mode : std::uint8_t {
    kAuto,     // whatever lets each layer end soonest, by what was measured
    kGpuOnly,  // the device, as far as its memory goes: what is missing there is copied first
    kCpuOnly,  // the CPU: the device is not used
    kStatic,   // the device has the experts that were wanted first, and computes these alone
  };
  Mode mode = Mode::kAuto;
  std::uint32_t experts = 0;  // of kStatic: how many
};

/// "auto", "gpu-only", "cpu-only" or "static:N"; kInvalidArgument lists them.
Result<Placement> parse_placement(std::string_view text);

}  // namespace sluice

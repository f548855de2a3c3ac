#include "devices/placement.h"

#include <charconv>
#include <string>

namespace sluice {

Result<Placement> parse_placement(std::string_view text) {
  if (text == "auto") return Placement{Placement::Mode::kAuto};
  if (text == "gpu-only") return Placement{Placement::Mode::kGpuOnly};
  if (text == "cpu-only") return Placement{Placement::Mode::kCpuOnly};
  constexpr std::string_view kStatic = "static:";
  if (text.starts_with(kStatic)) {
    const std::string_view number = text.substr(kStatic.size());
    Placement placement{Placement::Mode::kStatic};
    const char* const end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, placement.experts);
    if (error == std::errc() && stop == end) return placement;
  }
  return Status(ErrorCode::kInvalidArgument,
                "unknown placement \"" + std::string(text) +
                    "\": there are auto, gpu-only, cpu-only and static:N, N experts");
}

}  // namespace sluice

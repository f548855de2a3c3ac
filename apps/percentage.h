#pragma once

#include <charconv>
#include <string>

#include "base/status.h"

namespace sluice::apps {

/// "25%" → 25. kInvalidArgument for what is no share of a whole.
inline Result<double> parse_percentage(const std::string& text) {
  double percent = 0;
  if (text.ends_with('%')) {
    const char* const end = text.data() + text.size() - 1;
    const auto [rest, error] = std::from_chars(text.data(), end, percent);
    if (error == std::errc() && rest == end && percent >= 0 && percent <= 100) {
      return percent;
    }
  }
  return Status(ErrorCode::kInvalidArgument, "'" + text + "' is not a share from 0% to 100%");
}

}  // namespace sluice::apps

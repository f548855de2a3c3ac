#pragma once

#include <cstdint>

namespace sluice {

/// An expert that a coming layer will probably want: so many rows of it, or of few rows one with
/// that probability.
struct LikelyExpert {
  std::uint32_t expert = 0;
  float wanted = 1;
};

}  // namespace sluice

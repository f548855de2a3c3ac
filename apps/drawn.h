#pragma once
// Numbers that look drawn and are the same in every run: for each value another.

#include <cstdint>

namespace sluice::apps {

/// SplitMix64's finaliser.
inline std::uint64_t mixed(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

/// [0, 1)
inline double unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace sluice::apps

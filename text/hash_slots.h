#pragma once
// The arithmetic of open addressing that Vocabulary and MergeTable share.

#include <cstddef>
#include <cstdint>

namespace sluice {

/// Slots for `entries` at a load of two thirds: short probes without a power of two's waste.
inline std::size_t hash_slots(std::size_t entries) { return entries + entries / 2 + 1; }

/// A hash of 64 bits to a slot below `slots`, by its upper half. REQUIRES: slots < 2^32.
inline std::size_t hash_slot(std::uint64_t hash, std::size_t slots) {
  return static_cast<std::size_t>(((hash >> 32) * slots) >> 32);
}

}  // namespace sluice

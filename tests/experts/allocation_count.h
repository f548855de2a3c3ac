#pragma once
// Linking allocation_count.cc replaces the program's operator new by one that counts.

#include <cstdint>

namespace sluice::test {

/// Calls of operator new since the program began.
std::uint64_t allocation_count();

}  // namespace sluice::test

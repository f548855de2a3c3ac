#pragma once
// Loops whose index the compiler knows in every turn, so that it can choose instructions by it.

#include <cstddef>

namespace sluice::SLUICE_ISA {
namespace {

/// A number that the compiler knows.
template <std::size_t kNumber>
struct Index {
  static constexpr std::size_t kValue = kNumber;
};

/// use(Index<0>), …, use(Index<kEnd - 1>).
template <std::size_t kEnd, typename Use, std::size_t kFirst = 0>
inline void unroll(const Use& use) {
  if constexpr (kFirst < kEnd) {
    use(Index<kFirst>{});
    unroll<kEnd, Use, kFirst + 1>(use);
  }
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

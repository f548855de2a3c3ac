#pragma once
// Looks up codebooks for sixteen rows whose indices lie side by side. Plain loads do that faster
// than any instruction set's gathers, so there is one version for all of them, compiled for none.

#include <cstddef>
#include <cstdint>

namespace sluice {

/// `indices` is [words][16 rows][4 / sizeof(Index)], `chosen` [words * 4 / sizeof(Index)][16 rows]:
/// of each row its first index's entry, then its second's and so on. For bytes and 16-bit indices,
/// entries of 32 and 64 bits.
template <typename Entry, typename Index>
void choose_entries(const Entry* entries, const std::byte* indices, std::size_t words,
                    Entry (*chosen)[16]);

}  // namespace sluice

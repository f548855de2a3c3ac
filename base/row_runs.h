#pragma once
// Rows of attention that follow one another in a sequence, and how far they see.

#include <cstddef>
#include <span>

#include "base/operations.h"

namespace sluice {

/// Rows [first, first + count) of a task, each one position after the one before in a sequence.
struct RowRun {
  std::size_t first = 0, count = 0;
};
/// That begins with row `first`.
RowRun row_run(std::span<const AttentionRow> rows, std::size_t first);
/// Blocks of the cache from the first that `first` sees to the last that `last` does.
std::size_t blocks_seen(const AttentionRow& first, const AttentionRow& last);

/// Work that recurs is made for as many blocks, so that it is the same for many steps: one more
/// than a power of two, for windows begin and end within blocks.
std::size_t blocks_made_for(std::size_t seen);

}  // namespace sluice

#pragma once
// Gated delta net kernels, declared in the namespace of the instruction set that is being compiled
// (kernels.h): rule 8 of base/canonical.h for rows [first_row, first_row + n_rows) of a task, which
// are of one sequence.

#include <cstddef>

#include "base/operations.h"

namespace sluice::SLUICE_ISA {

/// The convolution of one head's channels, in place, and for queries and keys the L2 norm. Heads
/// are counted as their channels lie: query heads, key heads, value heads. `scratch` is 64-byte
/// aligned and holds kDeltaNetScratchBytes.
void delta_net_convolve(const DeltaNetTask& task, std::size_t first_row, std::size_t n_rows,
                        std::size_t head, std::byte* scratch);
/// One value head's state, and its part of the output.
void delta_net_recur(const DeltaNetTask& task, std::size_t first_row, std::size_t n_rows,
                     std::size_t value_head);

}  // namespace sluice::SLUICE_ISA

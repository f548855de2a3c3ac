#pragma once
// Dot products of weight rows and activation rows, in the namespace of the instruction set that is
// being compiled (kernels.h).

#include "cpu/kernels.h"

namespace sluice::SLUICE_ISA {

/// Kernels::dot: one of the two below.
void dot(const DotTile& tile, std::byte* scratch);

/// canonical.h's rule 2. REQUIRES: the format is quantised, tile.codes is not null.
void quantised_dot(const DotTile& tile, std::byte* scratch);
/// Rule 3; quantised weights are decoded first.
void float_dot(const DotTile& tile, std::byte* scratch);

}  // namespace sluice::SLUICE_ISA

#pragma once
// Dot products of weight rows and activation rows, in the namespace of the instruction set that is
// being compiled (kernels.h).

#include "cpu/kernels.h"

namespace sluice::SLUICE_ISA {

void dot(const DotTile& tile, std::byte* scratch);

}  // namespace sluice::SLUICE_ISA

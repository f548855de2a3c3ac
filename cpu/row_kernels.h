#pragma once
// Element-wise kernels, declared in the namespace of the instruction set that is being compiled
// (kernels.h).

#include <cstddef>
#include <cstdint>

#include "base/operations.h"

namespace sluice::SLUICE_ISA {

void quantise(const float* values, std::size_t columns, std::int8_t* codes, float* scales,
              std::int16_t* sums);
void activate(Activation activation, float alpha, float limit, const float* gate, const float* up,
              float* out, std::size_t n);

}  // namespace sluice::SLUICE_ISA

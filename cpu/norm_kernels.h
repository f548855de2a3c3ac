#pragma once
// Norm and RoPE kernels, declared in the namespace of the instruction set that is being
// compiled (kernels.h).

#include <cstddef>

#include "base/operations.h"

namespace sluice::SLUICE_ISA {

/// One row of a task: rule 6 of base/canonical.h. out may be x.
void norm(const NormTask& task, const float* x, float* out);

/// dot(x, x) by rule 3.
float sum_of_squares(const float* x, std::size_t n);

/// The heads of one row, `head_dim` floats apart, in place: rule 7. Cosines and sines are
/// [rotary_dim / 2].
void rope(float* x, std::size_t heads, std::size_t head_dim, std::size_t rotary_dim,
          bool interleaved, const float* cosines, const float* sines);

}  // namespace sluice::SLUICE_ISA

#pragma once
// What a forward pass does to rows of activations between matrices. All pointers are to device
// memory.

#include <cstddef>
#include <cstdint>

#include "cuda/gemv.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// canonical.h's rule 1: values `[rows, columns]` to 8 bits. columns is a multiple of 32, or
/// cudaErrorInvalidValue.
cudaError_t launch_quantise(const float* values, std::uint32_t rows, std::uint32_t columns,
                            const QuantisedRows& quantised, cudaStream_t stream);

/// canonical.h's rule 6 for `rows` rows, `x_stride` and `out_stride` floats apart; x may be out.
cudaError_t launch_rms_norm(const float* x, std::size_t x_stride, const float* weight, float eps,
                            float* out, std::size_t out_stride, std::uint32_t rows,
                            std::uint32_t columns, cudaStream_t stream);

/// out[i] = silu(x[i]), rule 4.
cudaError_t launch_silu(const float* x, float* out, std::size_t n, cudaStream_t stream);

}  // namespace sluice::cuda

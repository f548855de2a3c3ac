#pragma once
// How every GEMV kernel ends. A block is 32 outputs of one task, a group of the next quantisation;
// sums of segments lie in shared memory, [matrix][activation row][segment][kBlockRows], and are
// added in order, canonical.h's rules 2 and 3.

#include <cstdint>

#include "cuda/product_finish.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kBlockRows = 32;

/// Of the sums of all segments of a block.
__host__ __device__ inline std::uint32_t segment_sum_bytes(const ProductLaunch& launch) {
  return (launch.gated ? 2 : 1) * launch.max_n_rows * segments_of(launch.columns) * kBlockRows * 4;
}

/// The end of a block of `warps` warps, which all have left their sums.
__device__ __forceinline__ void finish_block(const ProductTask& task, const float* sums,
                                             std::uint32_t segments, std::uint32_t warps) {
  __syncthreads();
  const auto total = [&](std::uint32_t first_segment) {
    const float* const chains = sums + first_segment * kBlockRows + threadIdx.x % kWarp;
    float sum = 0.0f;
    for (std::uint32_t s = 0; s < segments; ++s) sum += chains[s * kBlockRows];
    return sum;
  };
  for (std::uint32_t r = threadIdx.x / kWarp; r < task.n_rows; r += warps) {
    const float first = total(r * segments);
    const float second = task.up.data == nullptr ? 0.0f : total((task.n_rows + r) * segments);
    finish_row(task, r, blockIdx.x * kBlockRows, first, second);
  }
}

}  // namespace sluice::cuda

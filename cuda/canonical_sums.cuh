#pragma once
// canonical.h's rule 3 in device code, the same bits: sums over elements in 16 lanes and segments.

#include <cstdint>

#include "base/canonical.h"
#include "cuda/device.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kSumLanes = kFloatLanes;  // half a warp

/// Elements [begin, end), which are of one segment; term(i, sum) is the sum with element i's part.
/// Every lane has the result. REQUIRES: both halves of a warp call, each for a sum of its own.
template <typename Term>
__device__ __forceinline__ float segment_sum(std::uint32_t begin, std::uint32_t end,
                                             const Term& term) {
  float sum = 0.0f;
#pragma unroll 8
  for (std::uint32_t i = begin + threadIdx.x % kSumLanes; i < end; i += kSumLanes) {
    sum = term(i, sum);
  }
  for (std::uint32_t width = kSumLanes / 2; width > 0; width /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, width);
  }
  return sum;
}

/// All n elements by half a warp, where `there`; else no term is asked for. REQUIRES: both halves
/// of a warp call, with the same n.
template <typename Term>
__device__ __forceinline__ float half_warp_sum(std::uint32_t n, bool there, const Term& term) {
  constexpr auto kColumns = static_cast<std::uint32_t>(kSegment);
  float total = 0.0f;
  for (std::uint32_t begin = 0; begin < n; begin += kColumns) {
    total += segment_sum(begin, there ? min(begin + kColumns, n) : begin, term);
  }
  return total;
}

/// All n elements by a block, each segment by half a warp. `segment_sums` is in shared memory and
/// has room for a float of each segment.
template <typename Term>
__device__ __forceinline__ float block_sum(std::uint32_t n, float* segment_sums, const Term& term) {
  constexpr auto kColumns = static_cast<std::uint32_t>(kSegment);
  const std::uint32_t segments = (n + kColumns - 1) / kColumns;
  // All threads trade values, also those beyond the last segment.
  for (std::uint32_t first = 0; first < segments; first += blockDim.x / kSumLanes) {
    const std::uint32_t segment = first + threadIdx.x / kSumLanes;
    const float sum = segment_sum(segment * kColumns, min((segment + 1) * kColumns, n), term);
    if (threadIdx.x % kSumLanes == 0 && segment < segments) segment_sums[segment] = sum;
  }
  __syncthreads();
  float total = 0.0f;
  for (std::uint32_t segment = 0; segment < segments; ++segment) total += segment_sums[segment];
  return total;
}

}  // namespace sluice::cuda

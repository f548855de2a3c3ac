#pragma once
// How every GEMV kernel ends. A block is 32 outputs of one task, a group of the next quantisation;
// sums of segments lie in shared memory, [matrix][activation row][segment][kBlockRows], and are
// added in order, canonical.h's rules 2 and 3. Then come bias and activation, and all 32 are
// quantised.

#include <cstdint>

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"
#include "cuda/gemv.h"

namespace sluice::cuda {

inline constexpr std::uint32_t kWarp = 32;
inline constexpr std::uint32_t kBlockRows = 32;
inline constexpr std::uint32_t kSegmentColumns = kSegment;

__host__ __device__ inline std::uint32_t segments_of(std::uint32_t columns) {
  return (columns + kSegmentColumns - 1) / kSegmentColumns;
}

/// Of the sums of all segments of a block.
__host__ __device__ inline std::uint32_t segment_sum_bytes(const GemvLaunch& launch) {
  return (launch.gated ? 2 : 1) * launch.max_n_rows * segments_of(launch.columns) * kBlockRows * 4;
}

__device__ __forceinline__ float activate(const GemvTask& task, float gate, float up) {
  switch (task.activation) {
    case Activation::kSilu:
      return canonical_silu(gate) * up;
    case Activation::kGeluTanh:
      return canonical_gelu_tanh(gate) * up;
    case Activation::kGelu:
      return canonical_gelu(gate) * up;
    case Activation::kRelu:
      return canonical_relu(gate) * up;
    case Activation::kClampedSwiglu:
      return canonical_clamped_swiglu(gate, up, task.alpha, task.limit);
  }
  return 0.0f;  // not an Activation
}

/// What a warp does with one activation row's 32 results; lane i has output i of the block.
__device__ __forceinline__ void finish_row(const GemvTask& task, std::uint32_t r, float first,
                                           float second) {
  const std::uint32_t row = blockIdx.x * kBlockRows + threadIdx.x % kWarp;
  const std::size_t at = std::size_t{r} * task.output_stride + row;
  float value = 0.0f;
  if (row < task.rows) {
    value = task.bias == nullptr ? first : first + task.bias[row];
    if (task.up.data != nullptr) {
      value = activate(task, value, task.up_bias == nullptr ? second : second + task.up_bias[row]);
    } else if (task.gate != nullptr) {
      value = activate(task, task.gate[at], value);
    }
    if (task.output != nullptr) task.output[at] = value;
  }
  if (task.hidden.codes != nullptr) {
    quantise_group(value, (std::size_t{r} * task.rows + row) / kActivationGroup, task.hidden.codes,
                   task.hidden.scales, task.hidden.sums);
  }
}

/// The end of a block of `warps` warps, which all have left their sums.
__device__ __forceinline__ void finish_block(const GemvTask& task, const float* sums,
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
    finish_row(task, r, first, second);
  }
}

}  // namespace sluice::cuda

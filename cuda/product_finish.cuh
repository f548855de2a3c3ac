#pragma once
// What becomes of products: bias and activation, then the quantisation of 32 outputs, which are a
// group.

#include <cstdint>

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"
#include "cuda/product.h"

namespace sluice::cuda {

inline constexpr std::uint32_t kWarp = 32;
inline constexpr std::uint32_t kSegmentColumns = kSegment;

__host__ __device__ inline std::uint32_t segments_of(std::uint32_t columns) {
  return (columns + kSegmentColumns - 1) / kSegmentColumns;
}

__device__ __forceinline__ float activate(const ProductTask& task, float gate, float up) {
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

/// What a warp does with 32 results of one activation row; lane i has output first_output + i.
/// REQUIRES: first_output is a multiple of 32.
__device__ __forceinline__ void finish_row(const ProductTask& task, std::uint32_t r,
                                           std::uint32_t first_output, float first, float second) {
  const std::uint32_t row = first_output + threadIdx.x % kWarp;
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

}  // namespace sluice::cuda

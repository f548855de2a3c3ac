#include "cuda/row_ops.h"

#include <algorithm>

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"
#include "cuda/canonical_sums.cuh"

namespace sluice::cuda {
namespace {

constexpr std::uint32_t kThreads = 256;

constexpr std::size_t divide_up(std::size_t n, std::size_t by) { return (n + by - 1) / by; }

/// Threads for n pieces of work: whole warps, no more than `most`.
dim3 block_for(std::size_t n, std::uint32_t most) {
  return {static_cast<unsigned>(std::min<std::size_t>(divide_up(n, 32) * 32, most)), 1, 1};
}

__global__ void quantise_kernel(Activations to, std::size_t groups) {
  const std::size_t group = (std::size_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (group >= groups) return;  // a whole warp
  quantise_group(to.values[group * 32 + threadIdx.x % 32], group, to.codes, to.scales, to.sums);
}

/// What rule 6 takes from a row before it makes the row.
struct Moments {
  float mean = 0.0f;     // that is subtracted: x - 0 is x, whatever x is
  float inverse = 0.0f;  // of the deviation
};

/// `sum` is what adds up a term of every element.
template <typename Sum>
__device__ __forceinline__ Moments moments(const NormTask& task, const float* x, const Sum& sum) {
  const auto columns = static_cast<float>(task.columns);
  Moments of;
  if (task.kind == NormKind::kLayer) {
    of.mean = sum([&](std::uint32_t i, float so_far) { return so_far + x[i]; }) / columns;
  }
  const float square = sum([&](std::uint32_t i, float so_far) {
    const float deviation = x[i] - of.mean;
    return fmaf(deviation, deviation, so_far);
  });
  of.inverse = 1.0f / sqrtf(square / columns + task.epsilon);
  return of;
}

/// Elements first, first + step, … of a row. out may be x, so several are read before the first is
/// written.
__device__ __forceinline__ void write_norm(const NormTask& task, const Moments& of, const float* x,
                                           float* out, std::uint32_t first, std::uint32_t step) {
  constexpr std::uint32_t kTogether = 8;
  const auto columns = static_cast<std::uint32_t>(task.columns);
  for (; first < columns; first += kTogether * step) {
    float values[kTogether] = {};
#pragma unroll
    for (std::uint32_t j = 0; j < kTogether; ++j) {
      if (first + j * step < columns) values[j] = x[first + j * step];
    }
#pragma unroll
    for (std::uint32_t j = 0; j < kTogether; ++j) {
      const std::uint32_t i = first + j * step;
      if (i >= columns) break;
      float value = (values[j] - of.mean) * of.inverse;
      if (task.weight != nullptr) value *= __ldg(task.weight + i);
      if (task.bias != nullptr) value += __ldg(task.bias + i);
      out[i] = value;
    }
  }
}

// Rows of one segment: half a warp is a row.
__global__ void narrow_norm_kernel(NormTask task) {
  const std::size_t row = (std::size_t{blockIdx.x} * kThreads + threadIdx.x) / kSumLanes;
  const bool there = row < task.rows;
  const float* const x = task.x + row * task.x_stride;
  const Moments of = moments(task, x, [&](const auto& term) {
    return half_warp_sum(static_cast<std::uint32_t>(task.columns), there, term);
  });
  if (!there) return;
  write_norm(task, of, x, task.out + row * task.out_stride, threadIdx.x % kSumLanes, kSumLanes);
}

// A block is a row.
__global__ void wide_norm_kernel(NormTask task) {
  auto* sums = reinterpret_cast<float*>(dynamic_shared());
  const float* const x = task.x + blockIdx.x * task.x_stride;
  const auto columns = static_cast<std::uint32_t>(task.columns);
  const Moments of = moments(task, x, [&](const auto& term) {
    float* const of_segments = sums;
    sums += divide_up(columns, kSegment);  // others read these still
    return block_sum(columns, of_segments, term);
  });
  write_norm(task, of, x, task.out + blockIdx.x * task.out_stride, threadIdx.x, blockDim.x);
}

__global__ void map_kernel(MapTask task) {
  float* const out = task.out + blockIdx.x * task.out_stride;
  const float* const x = task.x + blockIdx.x * task.x_stride;
  const float factor =
      task.op == MapOp::kAddGated ? canonical_sigmoid(task.gates[blockIdx.x]) : task.factor;
  const auto each = [&](const auto& body) {
    const std::size_t step = std::size_t{gridDim.y} * blockDim.x;
    for (std::size_t i = std::size_t{blockIdx.y} * blockDim.x + threadIdx.x; i < task.columns;
         i += step) {
      body(i);
    }
  };
  switch (task.op) {
    case MapOp::kFill:
      return each([&](std::size_t i) { out[i] = factor; });
    case MapOp::kCopy:
      return each([&](std::size_t i) { out[i] = x[i]; });
    case MapOp::kAdd:
    case MapOp::kAddGated:
      return each([&](std::size_t i) { out[i] += factor * x[i]; });
    case MapOp::kScale:
      return each([&](std::size_t i) { out[i] *= factor; });
    case MapOp::kGate:
      return each([&](std::size_t i) { out[i] *= canonical_sigmoid(x[i]); });
    case MapOp::kClamp:
      return each([&](std::size_t i) {
        const float value = out[i];
        out[i] = value < -factor ? -factor : factor < value ? factor : value;
      });
  }
}

// Pairs of one row, by blocks.
__global__ void rope_kernel(RopeTask task) {
  const auto pairs = static_cast<std::uint32_t>(task.rotary_dim / 2);
  const std::uint32_t index = blockIdx.y * blockDim.x + threadIdx.x;
  const std::uint32_t head = index / pairs, pair = index % pairs;
  if (head >= task.heads) return;
  float* const x = task.x + blockIdx.x * task.stride + head * task.head_dim;
  float* const first = x + (task.interleaved ? 2 * pair : pair);
  float* const second = first + (task.interleaved ? 1 : pairs);
  const float cosine = __ldg(task.cosines + std::size_t{blockIdx.x} * pairs + pair);
  const float sine = __ldg(task.sines + std::size_t{blockIdx.x} * pairs + pair);
  const float x0 = *first, x1 = *second;
  *first = fmaf(x0, cosine, -(x1 * sine));
  *second = fmaf(x1, cosine, x0 * sine);
}

}  // namespace

cudaError_t launch_norm(const NormTask& task, cudaStream_t stream) {
  if (task.rows == 0 || task.columns == 0) return cudaSuccess;
  if (task.columns <= kSegment) {
    constexpr std::size_t kRows = kThreads / kSumLanes;
    return launch(narrow_norm_kernel,
                  dim3{static_cast<unsigned>(divide_up(task.rows, kRows)), 1, 1},
                  dim3{kThreads, 1, 1}, 0, stream, task);
  }
  constexpr std::size_t kElements = 8;  // of a thread: a row's segments are fewer than its threads
  constexpr std::uint32_t kMostThreads = 512;
  return launch(wide_norm_kernel, dim3{static_cast<unsigned>(task.rows), 1, 1},
                block_for(divide_up(task.columns, kElements), kMostThreads),
                2 * divide_up(task.columns, kSegment) * sizeof(float), stream, task);
}

cudaError_t launch_map(const MapTask& task, cudaStream_t stream) {
  if (task.rows == 0 || task.columns == 0) return cudaSuccess;
  constexpr std::size_t kMostAcross = 1024;
  const dim3 block = block_for(task.columns, kThreads);
  const std::size_t across = std::min(divide_up(task.columns, block.x), kMostAcross);
  return launch(map_kernel,
                dim3{static_cast<unsigned>(task.rows), static_cast<unsigned>(across), 1}, block, 0,
                stream, task);
}

cudaError_t launch_quantise(const Activations& activations, std::size_t rows, cudaStream_t stream) {
  if (activations.codes == nullptr || rows == 0) return cudaSuccess;
  if (activations.columns % kActivationGroup != 0) return cudaErrorInvalidValue;
  const std::size_t groups = rows * activations.columns / kActivationGroup;
  if (groups == 0) return cudaSuccess;
  return launch(quantise_kernel,
                dim3{static_cast<unsigned>(divide_up(groups, kThreads / 32)), 1, 1},
                dim3{kThreads, 1, 1}, 0, stream, activations, groups);
}

cudaError_t launch_rope(const RopeTask& task, cudaStream_t stream) {
  const std::size_t pairs = task.heads * (task.rotary_dim / 2);
  if (task.rows == 0 || pairs == 0) return cudaSuccess;
  const dim3 block = block_for(pairs, kThreads);
  return launch(
      rope_kernel,
      dim3{static_cast<unsigned>(task.rows), static_cast<unsigned>(divide_up(pairs, block.x)), 1},
      block, 0, stream, task);
}

}  // namespace sluice::cuda

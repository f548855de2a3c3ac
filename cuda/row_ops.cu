#include "cuda/row_ops.h"

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"

namespace sluice::cuda {
namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kNormThreads = 512;  // 16 lanes of 32 segments: one go up to 16384 columns
constexpr std::uint32_t kLanes = kFloatLanes;

__global__ void quantise_kernel(const float* values, std::size_t groups, QuantisedRows quantised) {
  const std::size_t group = (std::size_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (group >= groups) return;  // a whole warp
  quantise_group(values[group * 32 + threadIdx.x % 32], group, quantised.codes, quantised.scales,
                 quantised.sums);
}

__global__ void silu_kernel(const float* x, float* out, std::size_t n) {
  const std::size_t i = std::size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) out[i] = canonical_silu(x[i]);
}

// A block is a row. Sixteen threads are the lanes of one segment; thread 0 adds the segments.
__global__ void rms_norm_kernel(const float* x, std::size_t x_stride, const float* weight,
                                float eps, float* out, std::size_t out_stride,
                                std::uint32_t columns) {
  auto* const segment_sums = reinterpret_cast<float*>(dynamic_shared());
  const float* const row = x + blockIdx.x * x_stride;
  float* const out_row = out + blockIdx.x * out_stride;
  const auto segments = static_cast<std::uint32_t>((columns + kSegment - 1) / kSegment);
  constexpr std::uint32_t kSegmentsAtOnce = kNormThreads / kLanes;
  const std::uint32_t lane = threadIdx.x % kLanes;
  // All threads take part in the shuffles, those beyond the last segment with zeros.
  for (std::uint32_t first = 0; first < segments; first += kSegmentsAtOnce) {
    const std::uint32_t segment = first + threadIdx.x / kLanes;
    const auto begin = static_cast<std::uint32_t>(segment * kSegment);
    const auto end = static_cast<std::uint32_t>(min(begin + std::uint32_t{kSegment}, columns));
    float sum = 0.0f;
    for (std::uint32_t i = begin + lane; i < end; i += kLanes) sum = fmaf(row[i], row[i], sum);
    for (std::uint32_t width = kLanes / 2; width > 0; width /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, width);
    }
    if (lane == 0 && segment < segments) segment_sums[segment] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0.0f;
    for (std::uint32_t i = 0; i < segments; ++i) total += segment_sums[i];
    segment_sums[segments] = 1.0f / sqrtf(total / static_cast<float>(columns) + eps);
  }
  __syncthreads();
  const float inverse = segment_sums[segments];
  for (std::uint32_t i = threadIdx.x; i < columns; i += kNormThreads) {
    out_row[i] = row[i] * inverse * weight[i];
  }
}

dim3 blocks_for(std::size_t threads) {
  return {static_cast<unsigned>((threads + kThreads - 1) / kThreads), 1, 1};
}

}  // namespace

cudaError_t launch_quantise(const float* values, std::uint32_t rows, std::uint32_t columns,
                            const QuantisedRows& quantised, cudaStream_t stream) {
  if (rows == 0 || columns == 0 || columns % kActivationGroup != 0) return cudaErrorInvalidValue;
  const std::size_t n = std::size_t{rows} * columns;
  return launch(quantise_kernel, blocks_for(n), dim3{kThreads, 1, 1}, 0, stream, values, n / 32,
                quantised);
}

cudaError_t launch_rms_norm(const float* x, std::size_t x_stride, const float* weight, float eps,
                            float* out, std::size_t out_stride, std::uint32_t rows,
                            std::uint32_t columns, cudaStream_t stream) {
  if (rows == 0 || columns == 0) return cudaErrorInvalidValue;
  const std::size_t shared = ((columns + kSegment - 1) / kSegment + 1) * sizeof(float);
  return launch(rms_norm_kernel, dim3{rows, 1, 1}, dim3{kNormThreads, 1, 1}, shared, stream, x,
                x_stride, weight, eps, out, out_stride, columns);
}

cudaError_t launch_silu(const float* x, float* out, std::size_t n, cudaStream_t stream) {
  if (n == 0) return cudaErrorInvalidValue;
  return launch(silu_kernel, blocks_for(n), dim3{kThreads, 1, 1}, 0, stream, x, out, n);
}

}  // namespace sluice::cuda

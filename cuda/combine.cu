#include "cuda/combine.h"

#include <algorithm>

#include "cuda/device.cuh"

namespace sluice::cuda {
namespace {

constexpr std::uint32_t kThreads = 128;

/// A thread has a column or, where rows are very wide, several of them. What ranks read does not
/// depend on one another, so some are on their way before the first is added.
__global__ void combine_kernel(CombineTask task) {
  constexpr std::uint32_t kTogether = 8;
  const std::uint32_t* const places = task.places + blockIdx.x * task.ranks;
  const float* const weights = task.weights + blockIdx.x * task.ranks;
  const std::size_t step = std::size_t{gridDim.y} * kThreads;
  for (std::size_t i = std::size_t{blockIdx.y} * kThreads + threadIdx.x; i < task.columns;
       i += step) {
    float sum = 0.0f;
    for (std::uint32_t first = 0; first < task.ranks; first += kTogether) {
      float values[kTogether] = {};
      std::uint32_t at[kTogether];
#pragma unroll
      for (std::uint32_t j = 0; j < kTogether; ++j) {
        at[j] = first + j < task.ranks ? __ldg(places + first + j) : CombineTask::kLeftOut;
        if (at[j] != CombineTask::kLeftOut) values[j] = task.outputs[at[j] * task.columns + i];
      }
#pragma unroll
      for (std::uint32_t j = 0; j < kTogether; ++j) {
        if (at[j] != CombineTask::kLeftOut) sum += __ldg(weights + first + j) * values[j];
      }
    }
    task.out[blockIdx.x * task.columns + i] = sum;
  }
}

}  // namespace

cudaError_t launch_combine(const CombineTask& task, cudaStream_t stream) {
  if (task.rows == 0 || task.columns == 0) return cudaSuccess;
  constexpr std::size_t kMostAcross = 1024;
  const std::size_t across = std::min((task.columns + kThreads - 1) / kThreads, kMostAcross);
  return launch(combine_kernel,
                dim3{static_cast<unsigned>(task.rows), static_cast<unsigned>(across), 1},
                dim3{kThreads, 1, 1}, 0, stream, task);
}

}  // namespace sluice::cuda

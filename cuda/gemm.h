#pragma once
// Weights × many rows of activations (prefill): a block of threads takes a tile of outputs and
// rows, so that each weight is read and decoded once for all the rows of its tile.

#include <cstdint>

#include "cuda/product.h"

namespace sluice::cuda {

/// Of a task: a tile. More rows are several tasks, of which none makes blocks that have nothing to
/// do; only those beyond the weight rows of a task that has fewer than others leave at once.
inline constexpr std::uint32_t kMaxGemmRows = 64;

/// Whether there is a kernel for such weights and activations that takes no more than
/// launch.shared_limit.
bool has_gemm(const ProductLaunch& launch);

/// Runs tasks[0, n_tasks), an array in device memory. cudaErrorInvalidValue where there is no
/// kernel, or a size is out of its bounds.
cudaError_t launch_gemm(const ProductLaunch& launch, const ProductTask* tasks, cudaStream_t stream);

}  // namespace sluice::cuda

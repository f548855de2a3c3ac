#pragma once
// What a forward pass does to rows of activations between matrices, as Operations has it
// (base/operations.h). All pointers are to device memory. Where a task has no elements nothing is
// done.

#include <cstddef>

#include "base/operations.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

cudaError_t launch_norm(const NormTask& task, cudaStream_t stream);

cudaError_t launch_map(const MapTask& task, cudaStream_t stream);

/// cudaErrorInvalidValue where columns are no multiple of 32.
cudaError_t launch_quantise(const Activations& activations, std::size_t rows, cudaStream_t stream);

cudaError_t launch_rope(const RopeTask& task, cudaStream_t stream);

}  // namespace sluice::cuda

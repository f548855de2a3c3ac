#pragma once
// The sum of a row's experts, as Operations has it (base/operations.h). All pointers are to device
// memory. Where there are no rows or columns nothing is done.

#include "base/operations.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

cudaError_t launch_combine(const CombineTask& task, cudaStream_t stream);

}  // namespace sluice::cuda

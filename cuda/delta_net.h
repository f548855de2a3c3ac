#pragma once
// Gated delta nets: rule 8 of base/canonical.h.

#include "base/operations.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// Whether there is a kernel for it: key_dim is at most 1024, kernel at most 2048.
bool has_delta_net(const DeltaNetShape& shape);

/// task.states is the host's, of states on the device, as all else is; it is read before the call
/// returns. cudaErrorInvalidValue where there is no kernel for the shape.
cudaError_t launch_delta_net(const DeltaNetTask& task, cudaStream_t stream);

}  // namespace sluice::cuda

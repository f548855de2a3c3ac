#pragma once
// Gated delta nets: rule 8 of base/canonical.h.

#include <cstdint>
#include <span>
#include <vector>

#include "base/operations.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// Whether there is a kernel for it: key_dim is at most 1024, kernel at most 2048.
bool has_delta_net(const DeltaNetShape& shape);

/// Rows [first, first + rows) of one sequence.
struct DeltaNetRun {
  float* history = nullptr;   // of the convolution: [kernel - 1, channels]
  float* matrices = nullptr;  // [value_heads, key_dim, value_dim]
  std::uint32_t first = 0, rows = 0;
};
/// Of all of the task's rows, in order; task.states is the host's.
void delta_net_runs(const DeltaNetTask& task, std::vector<DeltaNetRun>& runs);

/// Rows of some runs of the task's that follow one another. `there` are they on the device, where
/// all else of the task is, but for its states, which are not read: a captured graph serves runs of
/// as many rows with their states elsewhere. cudaErrorInvalidValue where there is no kernel for the
/// shape.
cudaError_t launch_delta_net(const DeltaNetTask& task, std::span<const DeltaNetRun> runs,
                             const DeltaNetRun* there, cudaStream_t stream);

}  // namespace sluice::cuda

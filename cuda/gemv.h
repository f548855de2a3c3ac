#pragma once
// Weights × few rows of activations (decode): every launch reads each weight once.

#include <cstdint>

#include "cuda/product.h"

namespace sluice::cuda {

inline constexpr std::uint32_t kMaxGemvRows = 4;

/// How a launch is cut; changes no bit of the result.
struct GemvTile {
  std::uint32_t rows_per_warp = 4;  // a block is 32 weight rows: 1, 2, 4 or 8
  std::uint32_t segments = 2;  // segments of 512 columns that a warp stages at once: 1, 2, 4 or 8
  std::uint32_t stages = 2;    // pieces under way a warp: 1 to 3
};

/// Whether there is a kernel for such weights and activations.
bool has_gemv(const ProductLaunch& launch);

/// Runs tasks[0, n_tasks), an array in device memory (so that a captured graph may see other
/// experts at each replay). `tile`, of rule 2: null for one that is fair on any device.
/// cudaErrorInvalidValue where there is no kernel, or a size is out of its bounds.
cudaError_t launch_gemv(const ProductLaunch& launch, const ProductTask* tasks, cudaStream_t stream,
                        const GemvTile* tile = nullptr);

}  // namespace sluice::cuda

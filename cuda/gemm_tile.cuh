#pragma once
// A GEMM block's tile of outputs: its weight rows, and how every GEMM kernel ends.
//
// A tile has kTileOutputs weight rows: outputs of a task, or of both its matrices half as many,
// the gate's first. It walks over the columns a *slab* at a time. Weights come as a *source*:
//
//   kGroup, kHasMin          codes that share a scale, and whether they have a minimum
//   kFactor, kHasRest        a group's dot with x is kFactor * dot(codes, x) + rest * sum(x)
//   kBytes                   of shared memory that it has for what it copies
//   fetch(slab)              starts copies of what `decode` will read
//   decode(slab, columns, put)  put(i, group, codes, scale, min, rest) for all groups of the slab's
//                            columns, of all weight rows i of the tile that there are; codes are
//                            four signed bytes a word, in order
//
// whose two calls all threads of the block make, with a barrier and the end of copies between.

#include <cstdint>

#include "cuda/gemm.h"
#include "cuda/product_finish.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kTileOutputs = 64;
inline constexpr std::uint32_t kSlabColumns = 128;
static_assert(kSegmentColumns % kSlabColumns == 0);
// Of sums in shared memory, [activation row][kTileOutputs]: a warp that writes a tile of tensor
// cores meets no bank twice.
inline constexpr std::uint32_t kTileSumStride = kTileOutputs + 4;
inline constexpr std::uint32_t kTileSumBytes = kMaxGemmRows * kTileSumStride * 4;

__host__ __device__ inline std::uint32_t tile_outputs(bool gated) {
  return gated ? kTileOutputs / 2 : kTileOutputs;
}

/// The weight rows of the block that asks.
class TileRows {
 public:
  __device__ __forceinline__ explicit TileRows(const ProductTask& task)
      : each_(tile_outputs(task.up.data != nullptr)),
        first_(blockIdx.x * each_),
        rows_(task.rows) {}
  /// The first of the task's outputs that are the tile's.
  __device__ __forceinline__ std::uint32_t first() const { return first_; }
  /// Of its matrix, which is the second where `second` says so.
  __device__ __forceinline__ std::uint32_t row(std::uint32_t i) const { return first_ + i % each_; }
  __device__ __forceinline__ bool second(std::uint32_t i) const { return i >= each_; }
  __device__ __forceinline__ bool there(std::uint32_t i) const { return row(i) < rows_; }
  __device__ __forceinline__ bool any() const { return first_ < rows_; }

 private:
  std::uint32_t each_, first_, rows_;
};

/// The end of a block of `warps` warps, which have left `sums`.
__device__ __forceinline__ void finish_tile(const ProductTask& task, const TileRows& tile,
                                            const float* sums, std::uint32_t n_rows,
                                            std::uint32_t first_row, std::uint32_t warps) {
  __syncthreads();
  for (std::uint32_t r = threadIdx.x / kWarp; r < n_rows; r += warps) {
    const float* const of_row = sums + r * kTileSumStride + threadIdx.x % kWarp;
    finish_row(task, first_row + r, tile.first(), of_row[0], of_row[kWarp]);
    if (task.up.data == nullptr && tile.first() + kWarp < task.rows) {
      finish_row(task, first_row + r, tile.first() + kWarp, of_row[kWarp], 0.0f);
    }
  }
}

}  // namespace sluice::cuda

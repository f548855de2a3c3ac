#pragma once
// Floats of the file as a source for GEMM tiles (gemm_tile.cuh, float_gemm.cuh).

#include <cstdint>

#include "cuda/block_copy.cuh"
#include "cuda/gemm_tile.cuh"
#include "cuda/stored_floats.cuh"

namespace sluice::cuda {

template <typename Stored, std::uint32_t kThreads>
class PlainSource {
  static constexpr std::uint32_t kLanes = 8;  // that copy a row
  // Room for the phase of the first and the rest of the last sixteen.
  static constexpr std::uint32_t kRowBytes = kSlabColumns * sizeof(Stored) + 32;

 public:
  static constexpr std::uint32_t kBytes = kTileOutputs * kRowBytes;

  __device__ PlainSource(const ProductTask& task, const TileRows& tile, std::uint32_t columns,
                         unsigned char* memory)
      : first_(task.weight.data),
        second_(task.up.data),
        tile_(tile),
        columns_(columns),
        matrix_bytes_(std::size_t{task.rows} * columns * sizeof(Stored)),
        memory_(memory) {}

  __device__ __forceinline__ void fetch(std::uint32_t slab) const {
    const std::uint32_t columns = min(kSlabColumns, columns_ - slab * kSlabColumns);
    for (std::uint32_t i = threadIdx.x / kLanes; i < kTileOutputs; i += kThreads / kLanes) {
      if (!tile_.there(i)) continue;
      copy_blocks<kLanes>(memory_ + i * kRowBytes, tile_.second(i) ? second_ : first_,
                          matrix_bytes_, begin(i, slab),
                          columns * static_cast<std::uint32_t>(sizeof(Stored)),
                          threadIdx.x % kLanes);
    }
  }

  template <typename Slab>
  __device__ __forceinline__ void decode(std::uint32_t slab, std::uint32_t columns,
                                         const Slab& out) const {
    for (std::uint32_t at = threadIdx.x; at < kTileOutputs * kSlabColumns; at += kThreads) {
      const std::uint32_t i = at / kSlabColumns, column = at % kSlabColumns;
      if (column >= columns || !tile_.there(i)) continue;
      const std::uint32_t phase = static_cast<std::uint32_t>(begin(i, slab)) & 15;
      const auto* const row = reinterpret_cast<const Stored*>(memory_ + i * kRowBytes + phase);
      out.set(i, column, to_float(row[column]));
    }
  }

 private:
  /// The byte of its matrix where row i's slab begins.
  __device__ __forceinline__ std::size_t begin(std::uint32_t i, std::uint32_t slab) const {
    return (std::size_t{tile_.row(i)} * columns_ + slab * kSlabColumns) * sizeof(Stored);
  }

  const std::byte *first_, *second_;
  const TileRows& tile_;
  std::uint32_t columns_;
  std::size_t matrix_bytes_;
  unsigned char* memory_;
};

}  // namespace sluice::cuda

#pragma once
// A quantised format's weights as a source for GEMM tiles (gemm_tile.cuh): whole blocks are copied
// as they are, and units (weight_units_32.cuh) taken apart by one thread each.

#include <cstdint>

#include "cuda/block_copy.cuh"
#include "cuda/gemm_tile.cuh"
#include "cuda/packed_words.cuh"

namespace sluice::cuda {

template <typename Unit, std::uint32_t kThreads>
class UnitSource {
  static constexpr std::uint32_t kElements = Unit::kElements, kBlockBytes = Unit::kBytes;
  static constexpr std::uint32_t kUnitElements = Unit::kGroup * Unit::kUnitGroups;
  static constexpr std::uint32_t kBlockUnits = kElements / kUnitElements;
  static constexpr std::uint32_t kSlabUnits = kSlabColumns / kUnitElements;
  // What is copied at once: a slab, or a block of which slabs are parts. Units of a part are next
  // to each other, and so are their groups.
  static constexpr std::uint32_t kStageSlabs =
      kElements > kSlabColumns ? kElements / kSlabColumns : 1;
  static constexpr std::uint32_t kStageColumns = kStageSlabs * kSlabColumns;
  static constexpr std::uint32_t kStageBytes = kStageColumns / kElements * kBlockBytes;
  // Room for the phase of the first and the rest of the last sixteen, and for whole words.
  static constexpr std::uint32_t kRowBytes = (kStageBytes + 16 + 4 + 15) / 16 * 16;
  static constexpr std::uint32_t kLanes = 8;  // that copy a row

 public:
  static constexpr int kGroup = Unit::kGroup;
  static constexpr bool kHasMin = Unit::kHasMin, kHasRest = false;
  static constexpr int kFactor = 1;
  static constexpr std::uint32_t kBytes = kTileOutputs * kRowBytes;

  __device__ UnitSource(const ProductTask& task, const TileRows& tile, std::uint32_t columns,
                        unsigned char* memory)
      : first_(task.weight.data),
        second_(task.up.data),
        tile_(tile),
        columns_(columns),
        row_bytes_(columns / kElements * kBlockBytes),
        matrix_bytes_(std::size_t{task.rows} * row_bytes_),
        memory_(memory) {}

  __device__ __forceinline__ void fetch(std::uint32_t slab) const {
    if (slab % kStageSlabs != 0) return;
    const std::uint32_t stage = slab / kStageSlabs;
    const std::uint32_t columns = min(kStageColumns, columns_ - stage * kStageColumns);
    for (std::uint32_t i = threadIdx.x / kLanes; i < kTileOutputs; i += kThreads / kLanes) {
      if (!tile_.there(i)) continue;
      copy_blocks<kLanes>(memory_ + i * kRowBytes, tile_.second(i) ? second_ : first_,
                          matrix_bytes_, begin(i, stage), columns / kElements * kBlockBytes,
                          threadIdx.x % kLanes);
    }
  }

  template <typename Put>
  __device__ __forceinline__ void decode(std::uint32_t slab, std::uint32_t columns, Put put) const {
    const std::uint32_t part = slab % kStageSlabs;
    for (std::uint32_t item = threadIdx.x; item < kTileOutputs * kSlabUnits; item += kThreads) {
      const std::uint32_t i = item / kSlabUnits;
      if (item % kSlabUnits * kUnitElements >= columns || !tile_.there(i)) continue;
      const std::uint32_t at = part * kSlabUnits + item % kSlabUnits;
      const auto unit = static_cast<int>(at % kBlockUnits);
      const std::uint32_t phase = static_cast<std::uint32_t>(begin(i, slab / kStageSlabs)) & 15;
      const std::uint32_t group = at / kBlockUnits * (kElements / kGroup) +
                                  static_cast<std::uint32_t>(Unit::first_group(unit)) -
                                  part * (kSlabColumns / kGroup);
      Unit::unit(memory_ + i * kRowBytes + phase + at / kBlockUnits * kBlockBytes, unit,
                 [&](int s, const auto& packed, float scale, float min) {
                   std::uint32_t codes[kGroup / 4];
#pragma unroll
                   for (int word = 0; word < kGroup / 4; ++word) {
                     codes[word] = less_offset<Unit::kOffset>(packed[word]);
                   }
                   if constexpr (Unit::kInterleaved) {
#pragma unroll
                     for (int word = 0; word < 4; ++word) straighten(codes[word], codes[4 + word]);
                   }
                   put(i, group + s * Unit::kGroupStep, codes, scale, min, 0);
                 });
    }
  }

 private:
  /// The byte of its matrix where row i's part of a stage begins.
  __device__ __forceinline__ std::size_t begin(std::uint32_t i, std::uint32_t stage) const {
    return std::size_t{tile_.row(i)} * row_bytes_ + stage * kStageBytes;
  }

  const std::byte *first_, *second_;
  const TileRows& tile_;
  std::uint32_t columns_, row_bytes_;
  std::size_t matrix_bytes_;
  unsigned char* memory_;
};

}  // namespace sluice::cuda

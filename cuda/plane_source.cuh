#pragma once
// Nested planes as a source for GEMM tiles (gemm_tile.cuh): half a warp takes 32 columns of a
// strip, each thread one of its rows, and reads them where they lie.

#include <cstdint>

#include "cuda/gemm_tile.cuh"
#include "cuda/nested_codes.cuh"

namespace sluice::cuda {

template <typename Codes, std::uint32_t kThreads>
class PlaneSource {
  using Form = typename Codes::Form;
  static constexpr std::uint32_t kBlockColumns = kNestedBlock;
  static_assert(kTileOutputs / 2 % kStripRows == 0);

 public:
  static constexpr int kGroup = Form::kGroup;
  static constexpr bool kHasMin = Form::kHasMin, kHasRest = Codes::kOffsets;
  static constexpr int kFactor = Codes::kFactor;
  static constexpr std::uint32_t kBytes = 0;

  __device__ PlaneSource(const ProductTask& task, const TileRows& tile, std::uint32_t columns,
                         unsigned char*)
      : task_(task), tile_(tile), columns_(columns) {}

  __device__ __forceinline__ void fetch(std::uint32_t) const {}

  template <typename Put>
  __device__ __forceinline__ void decode(std::uint32_t slab, std::uint32_t columns, Put put) const {
    const std::uint32_t blocks = columns / kBlockColumns;
    for (std::uint32_t item = threadIdx.x; item < kTileOutputs * blocks; item += kThreads) {
      const std::uint32_t i = item % kTileOutputs, block = item / kTileOutputs;
      const std::uint32_t first = i / kStripRows * kStripRows;  // of the strip, which is filled up
      if (!tile_.there(first)) continue;
      decode_block(slab * kSlabColumns + block * kBlockColumns, i, first,
                   [&](std::uint32_t group, const auto& codes, float scale, float min, int rest) {
                     put(i, block * (kBlockColumns / kGroup) + group, codes, scale, min, rest);
                   });
    }
  }

 private:
  template <typename Put>
  __device__ __forceinline__ void decode_block(std::uint32_t column, std::uint32_t i,
                                               std::uint32_t first, Put put) const {
    const auto row = static_cast<int>(i - first);
    const StripPlanes planes = strip_planes<Codes>(tile_.second(i) ? task_.up : task_.weight,
                                                   tile_.row(first), columns_);
    const std::size_t tile = column / Form::kBlock;
    const auto in_tile = static_cast<int>(column % Form::kBlock / kBlockColumns);
    const unsigned char* const at = planes.groups[0] + tile * Codes::kTileBytes + 4 * Form::kBlock;
    const typename Form::Scales scales(at, row, *planes.header);
    const int rest = Codes::rest(at, row);
    std::uint32_t codes[8];
    Codes::load(planes, tile, in_tile, row, Codes::table(*planes.header), codes);
    Codes::in_order(codes);
    constexpr int kGroups = static_cast<int>(kBlockColumns) / kGroup, kWords = kGroup / 4;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      std::uint32_t of_group[kWords];
#pragma unroll
      for (int word = 0; word < kWords; ++word) {
        of_group[word] = less_offset<Codes::kOffset>(codes[group * kWords + word]);
      }
      const int of_tile = in_tile * kGroups + group;
      put(static_cast<std::uint32_t>(group), of_group, scales.scale(of_tile) * Codes::kPart,
          scales.min(of_tile), rest);
    }
  }

  const ProductTask& task_;
  const TileRows& tile_;
  std::uint32_t columns_;
};

}  // namespace sluice::cuda

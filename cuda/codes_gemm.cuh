#pragma once
// Rule 2 of canonical.h for many rows: weights of any source (gemm_tile.cuh) × 8-bit activations.
//
// A block walks over the columns slab by slab:
//
//   1. asynchronous copies bring the next slab's weights, as they lie, and activations into shared
//      memory, while this one is multiplied;
//   2. weights are taken apart, once for all rows, into signed bytes and factors;
//   3. tensor cores give the exact integer dot of each group: a warp has sixteen weight rows and all
//      activation rows of the tile;
//   4. the thread that has a dot adds its term to the output's chain, which stays in a register, and
//      at the end of a segment the chain to the total.
//
// Step 4 is the only one whose order matters, and what takes most of the time: three float
// instructions for each group of an output, besides a 128th of the tensor cores' one.

#include <cstdint>

#include "cuda/block_copy.cuh"
#include "cuda/gemm_tile.cuh"
#include "cuda/packed_words.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kCodesWarps = kTileOutputs / 16;
inline constexpr std::uint32_t kCodesThreads = kCodesWarps * kWarp;

/// Slabs in shared memory, in bytes. Strides keep lanes that read together in different banks.
template <typename Source>
struct CodesLayout {
  static constexpr std::uint32_t kGroup = Source::kGroup;
  static constexpr std::uint32_t kGroups = kSlabColumns / kGroup;
  static constexpr std::uint32_t kScales = kSlabColumns / kActivationGroup;  // of activations
  static constexpr bool kNeedsSums = Source::kHasMin || Source::kHasRest;
  // Of a row of codes; lanes read two words of it at once where groups are of 32.
  static constexpr std::uint32_t kStride = kSlabColumns + (kGroup == 32 ? 32 : 16);
  static constexpr std::uint32_t kFactorStride = kTileOutputs + 8;  // of a group's factors, in words

  static constexpr std::uint32_t kActivationScales = kMaxGemmRows * kStride;
  static constexpr std::uint32_t kActivationSums = kActivationScales + kScales * kFactorStride * 4;
  static constexpr std::uint32_t kActivationBytes =
      kActivationSums + (kNeedsSums ? kScales * kFactorStride * 4 : 0);

  static constexpr std::uint32_t kCodes = Source::kBytes;
  static constexpr std::uint32_t kFactors = kCodes + kTileOutputs * kStride;
  static constexpr std::uint32_t kMins = kFactors + kGroups * kFactorStride * 4;
  static constexpr std::uint32_t kRests = kMins + (Source::kHasMin ? kGroups * kFactorStride * 4 : 0);
  static constexpr std::uint32_t kActivations =
      kRests + (Source::kHasRest ? kGroups * kFactorStride * 4 : 0);
  static constexpr std::uint32_t kIndices = kActivations + 2 * kActivationBytes;
  static constexpr std::uint32_t kBytes = kIndices + kMaxGemmRows * 4;
  static_assert(kTileSumBytes <= kBytes);
};

template <typename Source>
class CodesGemm {
  using Layout = CodesLayout<Source>;
  static constexpr std::uint32_t kTiles = kMaxGemmRows / 8;  // of activation rows of tensor cores
  static constexpr std::uint32_t kTilesAtOnce = 2;           // that no branch is between

 public:
  __device__ __forceinline__ CodesGemm(const ProductTask& task, const TileRows& tile,
                                       std::uint32_t columns)
      : task_(task),
        tile_(tile),
        columns_(columns),
        n_rows_(task.n_rows),
        memory_(dynamic_shared()),
        source_(task, tile, columns, memory_) {}

  /// Leaves the totals in the block's memory, for finish_tile.
  __device__ __forceinline__ void run() {
    auto* const indices = reinterpret_cast<std::uint32_t*>(memory_ + Layout::kIndices);
    for (std::uint32_t r = threadIdx.x; r < n_rows_; r += kCodesThreads) {
      indices[r] = task_.row_index == nullptr ? r : __ldg(task_.row_index + r);
    }
    __syncthreads();
    const std::uint32_t slabs = (columns_ + kSlabColumns - 1) / kSlabColumns;
    fetch(0);
    for (std::uint32_t slab = 0; slab < slabs; ++slab) {
      wait_for_copies<0>();
      __syncthreads();  // all have copied, and are done with the last slab
      decode(slab);
      __syncthreads();
      if (slab + 1 < slabs) fetch(slab + 1);
      if (tile_.there(first_row())) multiply(slab);
      constexpr std::uint32_t kSegmentSlabs = kSegmentColumns / kSlabColumns;
      if (slab % kSegmentSlabs == kSegmentSlabs - 1 || slab == slabs - 1) end_segment();
    }
    __syncthreads();
    leave_totals(reinterpret_cast<float*>(memory_));
  }

 private:
  static __device__ __forceinline__ std::uint32_t first_row() { return threadIdx.x / kWarp * 16; }
  __device__ __forceinline__ std::uint32_t columns_of(std::uint32_t slab) const {
    return min(kSlabColumns, columns_ - slab * kSlabColumns);
  }
  __device__ __forceinline__ unsigned char* activations(std::uint32_t slab) const {
    return memory_ + Layout::kActivations + slab % 2 * Layout::kActivationBytes;
  }
  template <typename T>
  static __device__ __forceinline__ T* as(unsigned char* at) {
    return reinterpret_cast<T*>(at);
  }

  // Step 1.
  __device__ __forceinline__ void fetch(std::uint32_t slab) const {
    source_.fetch(slab);
    const auto* const indices = as<const std::uint32_t>(memory_ + Layout::kIndices);
    unsigned char* const to = activations(slab);
    const std::uint32_t columns = columns_of(slab);
    constexpr std::uint32_t kChunks = kSlabColumns / 16;
    const auto* const codes = reinterpret_cast<const unsigned char*>(task_.input.codes);
    for (std::uint32_t at = threadIdx.x; at < n_rows_ * kChunks; at += kCodesThreads) {
      const std::uint32_t r = at / kChunks, chunk = at % kChunks;
      if (16 * chunk >= columns) continue;
      copy_async_16(to + r * Layout::kStride + 16 * chunk,
                    codes + std::size_t{indices[r]} * columns_ + slab * kSlabColumns + 16 * chunk);
    }
    const auto* const scales = reinterpret_cast<const unsigned char*>(task_.input.scales);
    const auto* const sums = reinterpret_cast<const unsigned char*>(task_.input.sums);
    for (std::uint32_t at = threadIdx.x; at < n_rows_ * Layout::kScales; at += kCodesThreads) {
      const std::uint32_t r = at / Layout::kScales, group = at % Layout::kScales;
      if (group * kActivationGroup >= columns) continue;
      // Of the activations' groups of 32, which have a scale and two sums of 16: 4 bytes each.
      const std::size_t from =
          4 * (std::size_t{indices[r]} * (columns_ / kActivationGroup) + slab * Layout::kScales + group);
      unsigned char* const factor = to + 4 * (group * Layout::kFactorStride + r);
      copy_async_4(factor + Layout::kActivationScales, scales + from);
      if constexpr (Layout::kNeedsSums) copy_async_4(factor + Layout::kActivationSums, sums + from);
    }
    commit_copies();
  }

  // Step 2.
  __device__ __forceinline__ void decode(std::uint32_t slab) const {
    source_.decode(slab, columns_of(slab),
                   [&](std::uint32_t i, std::uint32_t group, const auto& codes, float scale,
                       float min, int rest) {
                     unsigned char* const to =
                         memory_ + Layout::kCodes + i * Layout::kStride + group * Layout::kGroup;
#pragma unroll
                     for (std::uint32_t word = 0; word < Layout::kGroup / 4; word += 4) {
                       *as<uint4>(to + 4 * word) =
                           uint4{codes[word], codes[word + 1], codes[word + 2], codes[word + 3]};
                     }
                     unsigned char* const factor = memory_ + 4 * (group * Layout::kFactorStride + i);
                     *as<float>(factor + Layout::kFactors) = scale;
                     if constexpr (Source::kHasMin) *as<float>(factor + Layout::kMins) = min;
                     if constexpr (Source::kHasRest) *as<int>(factor + Layout::kRests) = rest;
                   });
  }

  // Steps 3 and 4.
  __device__ __forceinline__ void multiply(std::uint32_t slab) {
    const std::uint32_t groups = columns_of(slab) / Layout::kGroup;
    const unsigned char* const x = activations(slab);
#pragma unroll 1
    for (std::uint32_t group = 0; group < groups; ++group) {
      const GroupOfRows rows(memory_, group);
#pragma unroll
      for (std::uint32_t first = 0; first < kTiles; first += kTilesAtOnce) {
        if (8 * first >= n_rows_) break;
#pragma unroll
        for (std::uint32_t t = first; t < first + kTilesAtOnce; ++t) {
          rows.add(x, group, 8 * t, chains_[t]);
        }
      }
    }
  }

  /// What a lane has of a group of its warp's weight rows; multiply_bytes says which.
  class GroupOfRows {
   public:
    __device__ __forceinline__ GroupOfRows(unsigned char* memory, std::uint32_t group) {
      const std::uint32_t i = first_row() + threadIdx.x % kWarp / 4;
      load(memory + Layout::kCodes + i * Layout::kStride, group, 0);
      load(memory + Layout::kCodes + (i + 8) * Layout::kStride, group, 1);
      const unsigned char* const factor = memory + 4 * (group * Layout::kFactorStride + i);
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        scales_[row] = load_aligned<float>(factor + Layout::kFactors + 32 * row);
        if constexpr (Source::kHasMin) mins_[row] = load_aligned<float>(factor + Layout::kMins + 32 * row);
        if constexpr (Source::kHasRest) rests_[row] = load_aligned<int>(factor + Layout::kRests + 32 * row);
      }
    }

    /// Adds the terms of eight activation rows to their chains.
    __device__ __forceinline__ void add(const unsigned char* x, std::uint32_t group,
                                        std::uint32_t first, float (&chains)[4]) const {
      const std::uint32_t lane = threadIdx.x % kWarp;
      std::uint32_t codes[kWords];
      load_words(x + (first + lane / 4) * Layout::kStride, group, codes);
      // An integer less than 2^22 added to the bits of 1.5 * 2^23 is the float of their sum.
      constexpr int kMagicBits = 0x4b400000;
      constexpr float kMagic = 12582912.0f;
      int dots[4] = {kMagicBits / Source::kFactor, kMagicBits / Source::kFactor,
                     kMagicBits / Source::kFactor, kMagicBits / Source::kFactor};
      multiply_bytes(dots, codes_, codes);
      const std::uint32_t x_group = group * Layout::kGroup / kActivationGroup;
      const unsigned char* const factor = x + 4 * (x_group * Layout::kFactorStride + first + lane % 4 * 2);
      const float2 scales = load_aligned<float2>(factor + Layout::kActivationScales);
      const float scale[2] = {scales.x, scales.y};
      int sum[2] = {};
      if constexpr (Layout::kNeedsSums) {
        const uint2 sums = load_aligned<uint2>(factor + Layout::kActivationSums);
        sum[0] = sum_of(sums.x, group);
        sum[1] = sum_of(sums.y, group);
      }
#pragma unroll
      for (int at = 0; at < 4; ++at) {
        int whole = Source::kFactor * dots[at];
        if constexpr (Source::kHasRest) whole += rests_[at / 2] * sum[at % 2];
        chains[at] = fmaf(scales_[at / 2] * scale[at % 2], __int_as_float(whole) - kMagic, chains[at]);
        if constexpr (Source::kHasMin) {
          chains[at] = fmaf(mins_[at / 2] * scale[at % 2], static_cast<float>(sum[at % 2]), chains[at]);
        }
      }
    }

   private:
    static constexpr std::uint32_t kWords = Layout::kGroup / 16;  // of a row of a group, each lane

    // In groups of 32 a lane has two words that lie together, where multiply_bytes has them sixteen
    // bytes apart: both matrices' columns are in another order, which the dot does not show.
    static __device__ __forceinline__ void load_words(const unsigned char* row, std::uint32_t group,
                                                      std::uint32_t (&words)[kWords]) {
      const unsigned char* const at = row + group * Layout::kGroup + threadIdx.x % 4 * 4 * kWords;
      if constexpr (kWords == 2) {
        const uint2 both = load_aligned<uint2>(at);
        words[0] = both.x;
        words[1] = both.y;
      } else {
        words[0] = load_aligned<std::uint32_t>(at);
      }
    }
    __device__ __forceinline__ void load(const unsigned char* row, std::uint32_t group, int below) {
      std::uint32_t words[kWords];
      load_words(row, group, words);
#pragma unroll
      for (std::uint32_t word = 0; word < kWords; ++word) codes_[2 * word + below] = words[word];
    }
    static __device__ __forceinline__ int sum_of(std::uint32_t both, std::uint32_t group) {
      const auto pair = static_cast<int>(both);
      if constexpr (Layout::kGroup == 16) {
        return group % 2 == 0 ? static_cast<std::int16_t>(pair) : pair >> 16;
      } else {
        return static_cast<std::int16_t>(pair) + (pair >> 16);
      }
    }

    std::uint32_t codes_[2 * kWords];
    float scales_[2], mins_[2];
    int rests_[2];
  };

  __device__ __forceinline__ void end_segment() {
#pragma unroll
    for (std::uint32_t t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int at = 0; at < 4; ++at) {
        totals_[t][at] += chains_[t][at];
        chains_[t][at] = 0.0f;
      }
    }
  }

  __device__ __forceinline__ void leave_totals(float* sums) const {
    const std::uint32_t lane = threadIdx.x % kWarp;
    float* const of_lane = sums + lane % 4 * 2 * kTileSumStride + first_row() + lane / 4;
#pragma unroll
    for (std::uint32_t t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int at = 0; at < 4; ++at) {
        of_lane[(8 * t + at % 2) * kTileSumStride + at / 2 * 8] = totals_[t][at];
      }
    }
  }

  const ProductTask& task_;
  const TileRows& tile_;
  std::uint32_t columns_, n_rows_;
  unsigned char* memory_;
  Source source_;
  float chains_[kTiles][4] = {}, totals_[kTiles][4] = {};
};

template <typename Source>
__global__ void __launch_bounds__(kCodesThreads, 4)
    codes_gemm_kernel(const ProductTask* tasks, std::uint32_t columns) {
  const ProductTask& task = tasks[blockIdx.y];
  const TileRows tile(task);
  if (task.n_rows == 0 || !tile.any()) return;
  CodesGemm<Source>(task, tile, columns).run();
  finish_tile(task, tile, reinterpret_cast<const float*>(dynamic_shared()), task.n_rows, 0,
              kCodesWarps);
}

template <typename Source>
cudaError_t launch_codes_gemm(const ProductLaunch& launch_of, const ProductTask* tasks,
                              cudaStream_t stream) {
  const std::uint32_t outputs = tile_outputs(launch_of.gated);
  const dim3 grid = {(launch_of.max_rows + outputs - 1) / outputs, launch_of.n_tasks, 1};
  return launch(codes_gemm_kernel<Source>, grid, dim3{kCodesThreads, 1, 1},
                CodesLayout<Source>::kBytes, stream, tasks, launch_of.columns);
}

}  // namespace sluice::cuda

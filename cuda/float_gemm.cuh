#pragma once
// Rule 3 of canonical.h for many rows: weights as floats × float32 activations.
//
// Half a warp is the sixteen lanes of 8 x 8 outputs, whose sums of a segment its threads have in
// registers; slabs of both sides come through shared memory, the next one's as it lies while this
// one is multiplied. At the end of a segment lanes are added by halves, each time half of the
// outputs by either half of the lanes, so that every thread ends with four outputs.
//
// A source of weights is as gemm_tile.cuh has it, but
//
//   decode(slab, columns, out)  out.set(i, column, number), or set_four from a multiple of 4 on

#include <cstdint>

#include "cuda/block_copy.cuh"
#include "cuda/gemm_tile.cuh"
#include "cuda/packed_words.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kFloatTileRows = 32;  // activation rows of a block
inline constexpr std::uint32_t kFloatThreads = 512;
inline constexpr std::uint32_t kLanes = kFloatLanes;
inline constexpr std::uint32_t kPatch = 8;  // outputs of half a warp, either way
static_assert(kFloatThreads / kLanes * kPatch * kPatch == kTileOutputs * kFloatTileRows);

/// A slab of weights in shared memory, [kTileOutputs, kSlabColumns], pieces of four columns in an
/// order in which neither those who read (sixteen columns of two rows that are eight apart) nor
/// those who write (four columns of eight rows, or of two rows at four places 32 columns apart)
/// meet much in one bank.
class FloatSlab {
 public:
  static constexpr std::uint32_t kBytes = kTileOutputs * kSlabColumns * 4;
  __device__ __forceinline__ explicit FloatSlab(float* at) : at_(at) {}
  __device__ __forceinline__ void set(std::uint32_t i, std::uint32_t column, float number) const {
    at_[index(i, column)] = number;
  }
  __device__ __forceinline__ void set_four(std::uint32_t i, std::uint32_t column,
                                           const float (&four)[4]) const {
    *reinterpret_cast<float4*>(at_ + index(i, column)) =
        make_float4(four[0], four[1], four[2], four[3]);
  }

  /// Lane `lane` of rows [first, first + 8), first being a multiple of 8.
  class Lane {
   public:
    __device__ __forceinline__ Lane(const FloatSlab& slab, std::uint32_t first, std::uint32_t lane) {
#pragma unroll
      for (std::uint32_t turn = 0; turn < 4; ++turn) {
        const std::uint32_t piece = (lane / 4 ^ turn) | first / 8 % 2 * 4;
        even_[turn] = slab.at_ + first * kSlabColumns + 4 * piece + lane % 4;
        odd_[turn] = slab.at_ + first * kSlabColumns + 4 * (piece ^ 4) + lane % 4;
      }
    }
    /// Row first + row, column 16 * step + lane. REQUIRES: both are constants.
    __device__ __forceinline__ float at(std::uint32_t row, std::uint32_t step) const {
      const std::uint32_t turn = (step / 2 + row) % 4;
      const float* const of_step = step % 2 == 0 ? even_[turn] : odd_[turn];
      return of_step[row * kSlabColumns + step / 2 * 32];
    }

   private:
    const float *even_[4], *odd_[4];
  };

 private:
  static __device__ __forceinline__ std::uint32_t index(std::uint32_t i, std::uint32_t column) {
    const std::uint32_t piece = column / 4 % 8 ^ ((column / 32 + i) % 4 | i / 8 % 2 * 4);
    return i * kSlabColumns + column / 32 * 32 + 4 * piece + column % 4;
  }
  float* at_;
};

/// A source of codes, as floats.
template <typename Source>
class DecodedSource : public Source {
 public:
  using Source::Source;
  __device__ __forceinline__ void decode(std::uint32_t slab, std::uint32_t columns,
                                         const FloatSlab& out) const {
    Source::decode(slab, columns,
                   [&](std::uint32_t i, std::uint32_t group, const auto& codes, float scale,
                       float min, int rest) {
#pragma unroll
                     for (int word = 0; word < Source::kGroup / 4; ++word) {
                       float four[4];
#pragma unroll
                       for (int byte = 0; byte < 4; ++byte) {
                         const int code = static_cast<std::int8_t>(codes[word] >> 8 * byte & 0xff);
                         const auto number = static_cast<float>(Source::kFactor * code + rest);
                         // Adding a minimum of zero would turn -0 into +0.
                         four[byte] = Source::kHasMin ? fmaf(scale, number, min) : scale * number;
                       }
                       out.set_four(i, group * Source::kGroup + 4 * word, four);
                     }
                   });
  }
};

template <typename Source>
struct FloatGemmLayout {
  static constexpr std::uint32_t kActivationBytes = kFloatTileRows * kSlabColumns * 4;
  static constexpr std::uint32_t kWeights = Source::kBytes;
  static constexpr std::uint32_t kActivations = kWeights + FloatSlab::kBytes;
  static constexpr std::uint32_t kIndices = kActivations + 2 * kActivationBytes;
  static constexpr std::uint32_t kBytes = kIndices + kFloatTileRows * 4;
  static_assert(kFloatTileRows * kTileSumStride * 4 <= FloatSlab::kBytes);
};

template <typename Source>
class FloatGemm {
  using Layout = FloatGemmLayout<Source>;

 public:
  __device__ __forceinline__ FloatGemm(const ProductTask& task, const TileRows& tile,
                                       std::uint32_t columns)
      : task_(task),
        tile_(tile),
        columns_(columns),
        first_x_(blockIdx.z * kFloatTileRows),
        n_rows_(min(kFloatTileRows, task.n_rows - first_x_)),
        memory_(dynamic_shared()),
        weights_(reinterpret_cast<float*>(memory_ + Layout::kWeights)),
        lane_(threadIdx.x % kLanes),
        patch_row_(threadIdx.x / kLanes * kPatch % kTileOutputs),
        patch_x_(threadIdx.x / kLanes * kPatch / kTileOutputs * kPatch),
        source_(task, tile, columns, memory_) {}

  /// Leaves what the tile's outputs are before finish_tile.
  __device__ __forceinline__ float* run() {
    auto* const indices = reinterpret_cast<std::uint32_t*>(memory_ + Layout::kIndices);
    for (std::uint32_t r = threadIdx.x; r < n_rows_; r += kFloatThreads) {
      indices[r] =
          task_.row_index == nullptr ? first_x_ + r : __ldg(task_.row_index + first_x_ + r);
    }
    __syncthreads();
    // A warp's two patches meet the same activations.
    const bool busy = patch_x_ < n_rows_ && tile_.there(patch_row_ / 16 * 16);
    const std::uint32_t slabs = (columns_ + kSlabColumns - 1) / kSlabColumns;
    fetch(0);
    for (std::uint32_t slab = 0; slab < slabs; ++slab) {
      wait_for_copies<0>();
      __syncthreads();  // all have copied, and are done with the last slab
      decode(slab);
      __syncthreads();
      if (slab + 1 < slabs) fetch(slab + 1);
      if (!busy) continue;
      multiply(slab);
      constexpr std::uint32_t kSegmentSlabs = kSegmentColumns / kSlabColumns;
      if (slab % kSegmentSlabs == kSegmentSlabs - 1 || slab == slabs - 1) end_segment();
    }
    __syncthreads();
    auto* const sums = reinterpret_cast<float*>(memory_ + Layout::kWeights);
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) {
      sums[(patch_x_ + lane_ % 2 * 4 + i) * kTileSumStride + patch_row_ + lane_ / 2] = totals_[i];
    }
    return sums;
  }

  __device__ __forceinline__ std::uint32_t first_x() const { return first_x_; }
  __device__ __forceinline__ std::uint32_t n_rows() const { return n_rows_; }

 private:
  __device__ __forceinline__ float* activations(std::uint32_t slab) const {
    return reinterpret_cast<float*>(memory_ + Layout::kActivations +
                                    slab % 2 * Layout::kActivationBytes);
  }

  // What a row lacks of its last slab is zero on both sides, which adds nothing: rule 3.
  __device__ __forceinline__ void fetch(std::uint32_t slab) const {
    source_.fetch(slab);
    const auto* const indices =
        reinterpret_cast<const std::uint32_t*>(memory_ + Layout::kIndices);
    float* const to = activations(slab);
    for (std::uint32_t at = threadIdx.x; at < n_rows_ * kSlabColumns; at += kFloatThreads) {
      const std::uint32_t column = slab * kSlabColumns + at % kSlabColumns;
      if (column >= columns_) {
        to[at] = 0.0f;
        continue;
      }
      const float* const from =
          task_.values + std::size_t{indices[at / kSlabColumns]} * columns_ + column;
      copy_async_4(reinterpret_cast<unsigned char*>(to + at),
                   reinterpret_cast<const unsigned char*>(from));
    }
    commit_copies();
  }

  __device__ __forceinline__ void decode(std::uint32_t slab) const {
    const std::uint32_t columns = min(kSlabColumns, columns_ - slab * kSlabColumns);
    source_.decode(slab, columns, weights_);
    if (columns == kSlabColumns) return;
    for (std::uint32_t at = threadIdx.x; at < kTileOutputs * kSlabColumns; at += kFloatThreads) {
      if (at % kSlabColumns >= columns) weights_.set(at / kSlabColumns, at % kSlabColumns, 0.0f);
    }
  }

  __device__ __forceinline__ void multiply(std::uint32_t slab) {
    const FloatSlab::Lane weights(weights_, patch_row_, lane_);
    const float* const x = activations(slab) + patch_x_ * kSlabColumns + lane_;
#pragma unroll
    for (std::uint32_t step = 0; step < kSlabColumns / kLanes; ++step) {
      float of_weights[kPatch], of_x[kPatch];
#pragma unroll
      for (std::uint32_t i = 0; i < kPatch; ++i) of_weights[i] = weights.at(i, step);
#pragma unroll
      for (std::uint32_t r = 0; r < kPatch; ++r) of_x[r] = x[r * kSlabColumns + kLanes * step];
#pragma unroll
      for (std::uint32_t i = 0; i < kPatch; ++i) {
#pragma unroll
        for (std::uint32_t r = 0; r < kPatch; ++r) {
          chains_[i * kPatch + r] = fmaf(of_weights[i], of_x[r], chains_[i * kPatch + r]);
        }
      }
    }
  }

  /// Adds to each of the first kCount / 2 of this lane's sums the one that a lane kWidth away has
  /// of the same output; the two lanes share out their outputs.
  template <std::uint32_t kCount, std::uint32_t kWidth>
  __device__ __forceinline__ void add_halves() {
    const bool upper = (lane_ & kWidth) != 0;
#pragma unroll
    for (std::uint32_t i = 0; i < kCount / 2; ++i) {
      const float first = chains_[i], second = chains_[i + kCount / 2];
      const float other = __shfl_xor_sync(0xffffffffu, upper ? first : second, kWidth);
      chains_[i] = (upper ? second : first) + other;
    }
  }

  __device__ __forceinline__ void end_segment() {
    constexpr std::uint32_t kCount = kPatch * kPatch;
    add_halves<kCount, 8>();
    add_halves<kCount / 2, 4>();
    add_halves<kCount / 4, 2>();
    add_halves<kCount / 8, 1>();
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) totals_[i] += chains_[i];
#pragma unroll
    for (std::uint32_t i = 0; i < kCount; ++i) chains_[i] = 0.0f;
  }

  const ProductTask& task_;
  const TileRows& tile_;
  std::uint32_t columns_, first_x_, n_rows_;
  unsigned char* memory_;
  FloatSlab weights_;
  std::uint32_t lane_, patch_row_, patch_x_;
  Source source_;
  float chains_[kPatch * kPatch] = {}, totals_[4] = {};
};

template <typename Source>
__global__ void __launch_bounds__(kFloatThreads)
    float_gemm_kernel(const ProductTask* tasks, std::uint32_t columns) {
  const ProductTask& task = tasks[blockIdx.y];
  const TileRows tile(task);
  if (blockIdx.z * kFloatTileRows >= task.n_rows || !tile.any()) return;
  FloatGemm<Source> gemm(task, tile, columns);
  const float* const sums = gemm.run();
  finish_tile(task, tile, sums, gemm.n_rows(), gemm.first_x(), kFloatThreads / kWarp);
}

template <typename Source>
cudaError_t launch_float_gemm(const ProductLaunch& launch_of, const ProductTask* tasks,
                              cudaStream_t stream) {
  const std::uint32_t outputs = tile_outputs(launch_of.gated);
  // A task may have fewer rows than a tile of others: blocks that have none leave at once.
  const dim3 grid = {(launch_of.max_rows + outputs - 1) / outputs, launch_of.n_tasks,
                     (launch_of.max_n_rows + kFloatTileRows - 1) / kFloatTileRows};
  return launch(float_gemm_kernel<Source>, grid, dim3{kFloatThreads, 1, 1},
                FloatGemmLayout<Source>::kBytes, stream, tasks, launch_of.columns);
}

}  // namespace sluice::cuda

#pragma once
// The kernel behind quantised_gemv.h, for one format.
//
// A block gives 32 outputs of one task; each of its warps owns a few weight rows and works alone on
// them until the end. It walks over the columns in pieces of whole segments, all its rows at once:
//
//   1. asynchronous copies bring the next pieces' blocks, as they are, into shared memory;
//   2. lanes take units (weight_units_32.cuh) of the piece at hand, whichever row they are in, and
//   leave each group's
//      (weight scale * activation scale, exact integer dot) as a term;
//   3. each (activation row, weight row, segment) is a chain that one lane adds up in order from
//   those terms;
//   4. the chains of a row are added in order.
//
// Step 3 is the only one whose order matters, and it is one load and one fma a group. Which lane
// does what, and how large the pieces are, changes nothing.

#include <cstdint>

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"
#include "cuda/quantised_gemv.h"
#include "cuda/weight_units_256.cuh"
#include "cuda/weight_units_32.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kWarp = 32;
inline constexpr std::uint32_t kBlockRows =
    32;  // outputs of a block: a group of the next quantisation
inline constexpr std::uint32_t kSegmentColumns = kSegment;
inline constexpr std::uint32_t kMatrices = 2;  // of a gated unit

/// The factors of one group's term, and of its minimum's.
template <bool kHasMin>
struct Term {
  float2 product;
  static __device__ __forceinline__ Term make(float scale, int dot, float, int) {
    return {make_float2(scale, static_cast<float>(dot))};
  }
  __device__ __forceinline__ float add_to(float sum) const {
    return fmaf(product.x, product.y, sum);
  }
};
template <>
struct Term<true> {
  float4 products;
  static __device__ __forceinline__ Term make(float scale, int dot, float min, int sum) {
    return {make_float4(scale, static_cast<float>(dot), min, static_cast<float>(sum))};
  }
  __device__ __forceinline__ float add_to(float sum) const {
    return fmaf(products.z, products.w, fmaf(products.x, products.y, sum));
  }
};

/// Where things are in a block's shared memory, in bytes; host and device agree by computing it
/// from the same numbers. A warp has its stages, then its terms; behind all warps are the results.
template <typename Unit>
struct GemvLayout {
  static constexpr std::uint32_t kGroups = kSegmentColumns / Unit::kGroup;  // of a segment
  static constexpr std::uint32_t kChainTerms = kGroups + 1;  // one more: lanes meet no bank twice
  std::uint32_t row_bytes;  // of a row's piece, with room for its phase and for whole words
  std::uint32_t stage_bytes;
  std::uint32_t warp_bytes;
  std::uint32_t warps;
  std::uint32_t total_bytes;

  __host__ __device__ GemvLayout(const GemvTile& tile, std::uint32_t max_n_rows) {
    const std::uint32_t chains = max_n_rows * tile.rows_per_warp * tile.segments;
    constexpr std::uint32_t kSegmentBytes = kSegmentColumns / Unit::kElements * Unit::kBytes;
    row_bytes = (tile.segments * kSegmentBytes + 16 + 4 + 15) / 16 * 16;
    stage_bytes = tile.rows_per_warp * row_bytes;
    warp_bytes = tile.stages * stage_bytes +
                 chains * kChainTerms * static_cast<std::uint32_t>(sizeof(Term<Unit::kHasMin>));
    warp_bytes = (warp_bytes + 15) / 16 * 16;
    warps = kBlockRows / tile.rows_per_warp;
    total_bytes = warps * warp_bytes + kMatrices * kMaxGemvRows * kBlockRows * 4;
  }
};

/// A piece: all of a warp's rows of one matrix, over a run of whole segments.
struct GemvPiece {
  const std::byte* matrix;
  std::uint32_t first_column;
  std::uint32_t columns;
};

template <typename Unit>
class GemvWarp {
 public:
  using Layout = GemvLayout<Unit>;
  using GroupTerm = Term<Unit::kHasMin>;

  __device__ GemvWarp(const GemvTask& task, const GemvTile& tile, const Layout& layout,
                      std::uint32_t columns)
      : task_(task),
        tile_(tile),
        layout_(layout),
        columns_(columns),
        lane_(threadIdx.x % kWarp),
        row_in_block_(threadIdx.x / kWarp * tile.rows_per_warp) {
    const std::uint32_t first = blockIdx.x * kBlockRows + row_in_block_;
    first_row_ = first;
    rows_ = first >= task.rows ? 0 : min(tile.rows_per_warp, task.rows - first);
    piece_columns_ = tile.segments * kSegmentColumns;
    pieces_ = (columns + piece_columns_ - 1) / piece_columns_;
    stages_ = dynamic_shared() + threadIdx.x / kWarp * layout.warp_bytes;
    terms_ = reinterpret_cast<GroupTerm*>(stages_ + tile.stages * layout.stage_bytes);
  }

  /// Leaves results[matrix][activation row][row in block] for this warp's rows.
  __device__ void run(float (*results)[kMaxGemvRows][kBlockRows]) {
    if (rows_ == 0) return;
    const std::uint32_t steps = pieces_ * (task_.up == nullptr ? 1 : 2);
    for (std::uint32_t step = 0; step < tile_.stages; ++step) fetch(step, steps);
    float total = 0.0f;  // held by the first lane of a row's chains
    for (std::uint32_t step = 0; step < steps; ++step) {
      wait();
      __syncwarp();
      const GemvPiece piece = piece_of(step);
      make_terms(piece, stages_ + step % tile_.stages * layout_.stage_bytes);
      __syncwarp();
      fetch(step + tile_.stages, steps);
      total = add_chains(piece, total);
      if ((step + 1) % pieces_ == 0) {
        store(results[step / pieces_], total);
        total = 0.0f;
      }
    }
  }

 private:
  __device__ __forceinline__ GemvPiece piece_of(std::uint32_t step) const {
    const bool second = step >= pieces_;
    const std::uint32_t first = (second ? step - pieces_ : step) * piece_columns_;
    return {second ? task_.up : task_.weight, first, min(piece_columns_, columns_ - first)};
  }

  __device__ __forceinline__ std::uint32_t bytes_of(std::uint32_t columns) const {
    return columns / Unit::kElements * Unit::kBytes;
  }

  /// What is left of a row's piece when its address is rounded down to 16; the same in global and
  /// in shared memory.
  __device__ __forceinline__ std::uint32_t phase(std::uint32_t row, const GemvPiece& piece) const {
    return ((first_row_ + row) * bytes_of(columns_) + bytes_of(piece.first_column)) & 15;
  }

  // Step 1. A batch is committed even where nothing is left to fetch, so that `wait` can count.
  __device__ __forceinline__ void fetch(std::uint32_t step, std::uint32_t steps) {
    if (step < steps) {
      const GemvPiece piece = piece_of(step);
      unsigned char* const stage = stages_ + step % tile_.stages * layout_.stage_bytes;
      const std::size_t row_bytes = bytes_of(columns_);
      const auto* const matrix = reinterpret_cast<const unsigned char*>(piece.matrix);
      const std::size_t end = row_bytes * task_.rows;
      const std::uint32_t bytes = bytes_of(piece.columns);
      for (std::uint32_t row = 0; row < rows_; ++row) {
        const std::size_t begin =
            ((first_row_ + row) * row_bytes + bytes_of(piece.first_column)) & ~std::size_t{15};
        const std::uint32_t chunks = (phase(row, piece) + bytes + 15) / 16;
        for (std::uint32_t i = lane_; i < chunks; i += kWarp) {
          const std::size_t at = begin + std::size_t{16} * i;
          const std::size_t left = end - at;
          copy_async_16(stage + row * layout_.row_bytes + 16 * i, matrix + at,
                        left < 16 ? static_cast<unsigned>(left) : 16u);
        }
      }
    }
    commit_copies();
  }

  __device__ __forceinline__ void wait() const {
    if (tile_.stages == 1) wait_for_copies<0>();
    if (tile_.stages == 2) wait_for_copies<1>();
    if (tile_.stages == 3) wait_for_copies<2>();
  }

  // Step 2.
  __device__ __forceinline__ void make_terms(const GemvPiece& piece, const unsigned char* stage) {
    constexpr std::uint32_t kUnitElements = Unit::kGroup * Unit::kUnitGroups;
    constexpr std::uint32_t kBlockUnits = Unit::kElements / kUnitElements;
    const std::uint32_t units = piece.columns / kUnitElements;
    std::uint32_t row = 0, unit = lane_;
    while (true) {
      while (unit >= units) {
        unit -= units;
        ++row;
      }
      if (row >= rows_) break;
      const std::uint32_t block = unit / kBlockUnits;
      const unsigned char* const bytes =
          stage + row * layout_.row_bytes + phase(row, piece) + block * Unit::kBytes;
      Unit::unit(bytes, static_cast<int>(unit % kBlockUnits),
                 [&](int group, const auto& codes, float scale, float min) {
                   make_term(piece, row, block * Unit::kElements + group * Unit::kGroup, codes,
                             scale, min);
                 });
      unit += kWarp;
    }
  }

  template <int N>
  __device__ __forceinline__ void make_term(const GemvPiece& piece, std::uint32_t row,
                                            std::uint32_t column, const std::uint32_t (&codes)[N],
                                            float scale, float min) {
    const std::uint32_t group = column / Unit::kGroup;
    GroupTerm* term = terms_ +
                      (row * tile_.segments + group / Layout::kGroups) * Layout::kChainTerms +
                      group % Layout::kGroups;
    for (std::uint32_t r = 0; r < task_.n_rows; ++r) {
      const std::size_t input_row = task_.row_index == nullptr ? r : __ldg(task_.row_index + r);
      const std::size_t at = input_row * columns_ + piece.first_column + column;
      const auto* const x = reinterpret_cast<const uint4*>(task_.input.codes + at);
      int dot = 0;
#pragma unroll
      for (int i = 0; i < N; i += 4) {
        const uint4 four = __ldg(x + i / 4);
        dot = __dp4a(static_cast<int>(codes[i]), static_cast<int>(four.x), dot);
        dot = __dp4a(static_cast<int>(codes[i + 1]), static_cast<int>(four.y), dot);
        dot = __dp4a(static_cast<int>(codes[i + 2]), static_cast<int>(four.z), dot);
        dot = __dp4a(static_cast<int>(codes[i + 3]), static_cast<int>(four.w), dot);
      }
      const int sum = Unit::kOffset != 0 || Unit::kHasMin ? sum_of_codes(at) : 0;
      const float activation_scale = __ldg(task_.input.scales + at / kActivationGroup);
      *term = GroupTerm::make(scale * activation_scale, dot - Unit::kOffset * sum,
                              min * activation_scale, sum);
      term += tile_.rows_per_warp * tile_.segments * Layout::kChainTerms;
    }
  }

  __device__ __forceinline__ int sum_of_codes(std::size_t at) const {
    const std::int16_t* const sums = task_.input.sums + at / 16;
    if constexpr (Unit::kGroup == 16) return __ldg(sums);
    const auto both = static_cast<int>(__ldg(reinterpret_cast<const unsigned*>(sums)));
    return static_cast<std::int16_t>(both) + (both >> 16);
  }

  // Steps 3 and 4: lane = (activation row, weight row, segment), the last fastest.
  __device__ __forceinline__ float add_chains(const GemvPiece& piece, float total) const {
    const std::uint32_t segment = lane_ % tile_.segments;
    const std::uint32_t chains = task_.n_rows * tile_.rows_per_warp * tile_.segments;
    const std::uint32_t groups = piece.columns / Unit::kGroup;
    const std::uint32_t before = segment * Layout::kGroups;
    float sum = 0.0f;
    if (lane_ < chains && lane_ / tile_.segments % tile_.rows_per_warp < rows_ && before < groups) {
      const GroupTerm* const terms = terms_ + lane_ * Layout::kChainTerms;
      const std::uint32_t count = min(Layout::kGroups, groups - before);
      if (count == Layout::kGroups) {
#pragma unroll
        for (std::uint32_t i = 0; i < Layout::kGroups; ++i) sum = terms[i].add_to(sum);
      } else {
        for (std::uint32_t i = 0; i < count; ++i) sum = terms[i].add_to(sum);
      }
    }
    for (std::uint32_t s = 0; s < tile_.segments; ++s) {
      const float next = __shfl_sync(0xffffffffu, sum, lane_ - segment + s);
      if (s * Layout::kGroups < groups) total += next;
    }
    return total;
  }

  __device__ __forceinline__ void store(float (*results)[kBlockRows], float total) const {
    const std::uint32_t chain = lane_ / tile_.segments;
    const std::uint32_t row = chain % tile_.rows_per_warp, r = chain / tile_.rows_per_warp;
    if (lane_ % tile_.segments == 0 && r < task_.n_rows && row < rows_) {
      results[r][row_in_block_ + row] = total;
    }
  }

  const GemvTask& task_;
  const GemvTile& tile_;
  const Layout& layout_;
  std::uint32_t columns_;
  std::uint32_t lane_, row_in_block_, first_row_, rows_, piece_columns_, pieces_;
  unsigned char* stages_;
  GroupTerm* terms_;
};

/// What a warp does with one activation row's 32 results; lane i has output i of the block.
__device__ __forceinline__ void finish_row(const GemvTask& task, std::uint32_t r, float first,
                                           float second) {
  const std::uint32_t row = blockIdx.x * kBlockRows + threadIdx.x % kWarp;
  if (task.up != nullptr) {
    const float value = canonical_silu(first) * second;
    if (task.output != nullptr) task.output[std::size_t{r} * task.output_stride + row] = value;
    quantise_group(value, (std::size_t{r} * task.rows + row) / kActivationGroup, task.hidden.codes,
                   task.hidden.scales, task.hidden.sums);
  } else if (row < task.rows) {
    const float value = task.bias == nullptr ? first : first + task.bias[row];
    task.output[std::size_t{r} * task.output_stride + row] = value;
  }
}

template <typename Unit>
__global__ void gemv_kernel(const GemvTask* tasks, GemvTile tile, std::uint32_t columns,
                            std::uint32_t max_n_rows) {
  const GemvTask task = tasks[blockIdx.y];
  if (task.n_rows == 0 || blockIdx.x * kBlockRows >= task.rows) return;
  const GemvLayout<Unit> layout(tile, max_n_rows);
  auto* const results = reinterpret_cast<float(*)[kMaxGemvRows][kBlockRows]>(
      dynamic_shared() + layout.warps * layout.warp_bytes);
  GemvWarp<Unit>(task, tile, layout, columns).run(results);
  __syncthreads();
  const std::uint32_t lane = threadIdx.x % kWarp;
  for (std::uint32_t r = threadIdx.x / kWarp; r < task.n_rows; r += layout.warps) {
    finish_row(task, r, results[0][r][lane], results[1][r][lane]);
  }
}

}  // namespace sluice::cuda

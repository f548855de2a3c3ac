#pragma once
// Rule 2 of canonical.h for one format whose blocks are read as the file has them.
//
// A block gives 32 outputs of one task; each of its warps owns a few weight rows and works alone on
// them until the end. It walks over the columns in pieces of whole segments, all its rows at once:
//
//   1. asynchronous copies bring the next pieces' blocks, as they are, into shared memory;
//   2. lanes take units (weight_units_32.cuh) of the piece at hand and leave each group's factors,
//      (weight scale * activation scale) and (exact integer dot), as a term;
//   3. each (activation row, weight row, segment) is a chain that one lane adds up in order from
//   those terms;
//   4. at the end the chains of an output are added in order.
//
// Step 3 is the only one whose order matters, and it is one load and one fma a group. Which lane
// does what, and how large the pieces are, changes nothing.

#include <cstdint>

#include "cuda/block_copy.cuh"
#include "cuda/gemv_finish.cuh"
#include "cuda/packed_words.cuh"

namespace sluice::cuda {

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
/// from the same numbers. A warp has its stages, then its terms. Behind all warps are the sums of
/// segments, [matrix][activation row][segment][kBlockRows].
template <typename Unit>
struct GemvLayout {
  static constexpr std::uint32_t kGroups = kSegmentColumns / Unit::kGroup;  // of a segment
  static constexpr std::uint32_t kChainTerms = kGroups + 1;  // one more: lanes meet no bank twice
  std::uint32_t row_bytes;  // of a row's piece, with room for its phase and for whole words
  std::uint32_t stage_bytes;
  std::uint32_t warp_bytes;
  std::uint32_t warps;
  std::uint32_t segments;  // of a row
  std::uint32_t total_bytes;

  __host__ __device__ GemvLayout(const GemvTile& tile, const ProductLaunch& launch) {
    constexpr std::uint32_t kSegmentBytes = kSegmentColumns / Unit::kElements * Unit::kBytes;
    constexpr auto kTermBytes = static_cast<std::uint32_t>(sizeof(Term<Unit::kHasMin>));
    const std::uint32_t chains = launch.max_n_rows * tile.rows_per_warp * tile.segments;
    row_bytes = (tile.segments * kSegmentBytes + 16 + 4 + 15) / 16 * 16;
    stage_bytes = tile.rows_per_warp * row_bytes;
    warp_bytes = (tile.stages * stage_bytes + chains * kChainTerms * kTermBytes + 15) / 16 * 16;
    warps = kBlockRows / tile.rows_per_warp;
    segments = segments_of(launch.columns);
    total_bytes = warps * warp_bytes + segment_sum_bytes(launch);
  }
};

/// A piece: all of a warp's rows of one matrix, over a run of whole segments.
struct GemvPiece {
  const std::byte* matrix;
  std::uint32_t first_column;
  std::uint32_t columns;
};

/// What an activation row has under a unit.
template <typename Unit>
struct ActivationUnit {
  static constexpr bool kNeedsSum = Unit::kOffset != 0 || Unit::kHasMin;
  std::uint32_t codes[Unit::kUnitGroups][Unit::kGroup / 4];
  float scales[Unit::kUnitGroups];
  int sums[Unit::kUnitGroups];

  /// `at`: the element where the unit's first group starts.
  __device__ __forceinline__ ActivationUnit(const QuantisedRows& rows, std::size_t at) {
#pragma unroll
    for (int s = 0; s < Unit::kUnitGroups; ++s) {
      const std::size_t group_at = at + s * Unit::kGroupStep * Unit::kGroup;
      const auto* const four = reinterpret_cast<const uint4*>(rows.codes + group_at);
#pragma unroll
      for (int i = 0; i < Unit::kGroup / 16; ++i) {
        const uint4 words = __ldg(four + i);
        codes[s][4 * i] = words.x;
        codes[s][4 * i + 1] = words.y;
        codes[s][4 * i + 2] = words.z;
        codes[s][4 * i + 3] = words.w;
      }
      if constexpr (Unit::kInterleaved) {
#pragma unroll
        for (int i = 0; i < 4; ++i) interleave(codes[s][i], codes[s][4 + i]);
      }
      scales[s] = __ldg(rows.scales + group_at / kActivationGroup);
      sums[s] = kNeedsSum ? sum_of_codes(rows.sums + group_at / 16) : 0;
    }
  }

 private:
  static __device__ __forceinline__ int sum_of_codes(const std::int16_t* sums_at) {
    if constexpr (Unit::kGroup == 16) return __ldg(sums_at);
    const auto both = static_cast<int>(__ldg(reinterpret_cast<const unsigned*>(sums_at)));
    return static_cast<std::int16_t>(both) + (both >> 16);
  }
};

template <typename Unit>
class GemvWarp {
 public:
  using Layout = GemvLayout<Unit>;
  using GroupTerm = Term<Unit::kHasMin>;

  __device__ GemvWarp(const ProductTask& task, const GemvTile& tile, const Layout& layout,
                      std::uint32_t columns)
      : task_(task),
        tile_(tile),
        layout_(layout),
        columns_(columns),
        lane_(threadIdx.x % kWarp),
        row_in_block_(threadIdx.x / kWarp * tile.rows_per_warp),
        first_row_(blockIdx.x * kBlockRows + row_in_block_),
        rows_(first_row_ >= task.rows ? 0 : min(tile.rows_per_warp, task.rows - first_row_)),
        piece_columns_(min(tile.segments * kSegmentColumns, columns)),
        pieces_((columns + piece_columns_ - 1) / piece_columns_),
        stages_(dynamic_shared() + threadIdx.x / kWarp * layout.warp_bytes),
        terms_(reinterpret_cast<GroupTerm*>(stages_ + tile.stages * layout.stage_bytes)) {
    // As many lanes a row as it has units, but a power of two: the other lanes take other rows.
    row_lanes_ = kWarp;
    while (row_lanes_ / 2 >= piece_columns_ / kUnitElements) row_lanes_ /= 2;
  }

  /// Leaves this warp's rows of `sums`, [matrix][activation row][segment][kBlockRows].
  __device__ void run(float* sums) const {
    if (rows_ == 0) return;
    const std::uint32_t steps = pieces_ * (task_.up.data == nullptr ? 1 : 2);
    for (std::uint32_t step = 0; step < tile_.stages; ++step) fetch(step, steps);
    for (std::uint32_t step = 0; step < steps; ++step) {
      wait();
      __syncwarp();
      const GemvPiece piece = piece_of(step);
      make_terms(piece, stages_ + step % tile_.stages * layout_.stage_bytes);
      __syncwarp();
      fetch(step + tile_.stages, steps);
      add_chains(piece, sums + step / pieces_ * task_.n_rows * layout_.segments * kBlockRows);
    }
  }

 private:
  static constexpr std::uint32_t kUnitElements = Unit::kGroup * Unit::kUnitGroups;
  static constexpr std::uint32_t kBlockUnits = Unit::kElements / kUnitElements;

  __device__ __forceinline__ GemvPiece piece_of(std::uint32_t step) const {
    const bool second = step >= pieces_;
    const std::uint32_t first = (second ? step - pieces_ : step) * piece_columns_;
    return {second ? task_.up.data : task_.weight.data, first, min(piece_columns_, columns_ - first)};
  }

  static __device__ __forceinline__ std::uint32_t bytes_of(std::uint32_t columns) {
    return columns / Unit::kElements * Unit::kBytes;
  }

  /// The matrix's byte where a row's piece begins.
  __device__ __forceinline__ std::size_t offset(std::uint32_t row, const GemvPiece& piece) const {
    return std::size_t{first_row_ + row} * bytes_of(columns_) + bytes_of(piece.first_column);
  }

  /// Where a row's piece lies in its stage. Addresses keep their phase within 16 bytes. Whole rows
  /// are one run, as in the matrix; parts of rows are each a run of their own.
  __device__ __forceinline__ std::uint32_t place(std::uint32_t row, const GemvPiece& piece) const {
    const std::uint32_t first_phase = static_cast<std::uint32_t>(offset(0, piece)) & 15;
    if (pieces_ == 1) return first_phase + row * bytes_of(columns_);
    return row * layout_.row_bytes + ((first_phase + row * bytes_of(columns_)) & 15);
  }

  // Step 1. A batch is committed even where nothing is left to fetch, so that `wait` can count.
  __device__ __forceinline__ void fetch(std::uint32_t step, std::uint32_t steps) const {
    if (step < steps) {
      const GemvPiece piece = piece_of(step);
      unsigned char* const stage = stages_ + step % tile_.stages * layout_.stage_bytes;
      const std::uint32_t runs = pieces_ == 1 ? 1 : rows_;
      const std::uint32_t bytes = bytes_of(piece.columns) * (pieces_ == 1 ? rows_ : 1);
      for (std::uint32_t run = 0; run < runs; ++run) {
        copy_blocks<kWarp>(stage + run * layout_.row_bytes, piece.matrix,
                           std::size_t{task_.rows} * bytes_of(columns_), offset(run, piece), bytes,
                           lane_);
      }
    }
    commit_copies();
  }

  __device__ __forceinline__ void wait() const {
    if (tile_.stages == 1) wait_for_copies<0>();
    if (tile_.stages == 2) wait_for_copies<1>();
    if (tile_.stages == 3) wait_for_copies<2>();
  }

  // Step 2. A lane stays with its columns and goes down the rows, so that activations are loaded
  // once for them all.
  __device__ __forceinline__ void make_terms(const GemvPiece& piece,
                                             const unsigned char* stage) const {
    const std::uint32_t units = piece.columns / kUnitElements;
    const std::uint32_t row_step = kWarp / row_lanes_;
    for (std::uint32_t r = 0; r < task_.n_rows; ++r) {
      const std::size_t x_row = task_.row_index == nullptr ? r : __ldg(task_.row_index + r);
      for (std::uint32_t at = lane_ % row_lanes_; at < units; at += row_lanes_) {
        const std::uint32_t block = at / kBlockUnits;
        const auto unit = static_cast<int>(at % kBlockUnits);
        const std::uint32_t group = block * (Unit::kElements / Unit::kGroup) +
                                    static_cast<std::uint32_t>(Unit::first_group(unit));
        const ActivationUnit<Unit> x(task_.input,
                                     x_row * columns_ + piece.first_column + group * Unit::kGroup);
        GroupTerm* const terms =
            terms_ +
            (r * tile_.rows_per_warp * tile_.segments + group / Layout::kGroups) *
                Layout::kChainTerms +
            group % Layout::kGroups;
        const unsigned char* const blocks = stage + block * Unit::kBytes;
        for (std::uint32_t row = lane_ / row_lanes_; row < rows_; row += row_step) {
          GroupTerm* const row_terms = terms + row * tile_.segments * Layout::kChainTerms;
          Unit::unit(blocks + place(row, piece), unit,
                     [&](int s, const auto& codes, float scale, float min) {
                       row_terms[s * Unit::kGroupStep] = term(codes, scale, min, x, s);
                     });
        }
      }
    }
  }

  template <int N>
  static __device__ __forceinline__ GroupTerm term(const std::uint32_t (&codes)[N], float scale,
                                                   float min, const ActivationUnit<Unit>& x,
                                                   int s) {
    int dot = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      dot = __dp4a(static_cast<int>(codes[i]), static_cast<int>(x.codes[s][i]), dot);
    }
    return GroupTerm::make(scale * x.scales[s], dot - Unit::kOffset * x.sums[s], min * x.scales[s],
                           x.sums[s]);
  }

  // Step 3: lane = (activation row, weight row, segment), the last fastest.
  __device__ __forceinline__ void add_chains(const GemvPiece& piece, float* sums) const {
    const std::uint32_t segment = lane_ % tile_.segments;
    const std::uint32_t row = lane_ / tile_.segments % tile_.rows_per_warp;
    const std::uint32_t r = lane_ / tile_.segments / tile_.rows_per_warp;
    const std::uint32_t groups = piece.columns / Unit::kGroup;
    const std::uint32_t before = segment * Layout::kGroups;
    if (r >= task_.n_rows || row >= rows_ || before >= groups) return;
    const GroupTerm* const terms = terms_ + lane_ * Layout::kChainTerms;
    const std::uint32_t count = min(Layout::kGroups, groups - before);
    float sum = 0.0f;
    if (count == Layout::kGroups) {
#pragma unroll
      for (std::uint32_t i = 0; i < Layout::kGroups; ++i) sum = terms[i].add_to(sum);
    } else {
#pragma unroll 1
      for (std::uint32_t i = 0; i < count; ++i) sum = terms[i].add_to(sum);
    }
    const std::uint32_t of_row = piece.first_column / kSegmentColumns + segment;
    sums[(r * layout_.segments + of_row) * kBlockRows + row_in_block_ + row] = sum;
  }

  const ProductTask& task_;
  const GemvTile& tile_;
  const Layout& layout_;
  std::uint32_t columns_;
  std::uint32_t lane_, row_in_block_, first_row_, rows_, piece_columns_, pieces_;
  unsigned char* stages_;
  GroupTerm* terms_;
  std::uint32_t row_lanes_;  // lanes side by side along a row
};

template <typename Unit>
__global__ void gemv_kernel(const ProductTask* tasks, GemvTile tile, ProductLaunch launch) {
  const ProductTask task = tasks[blockIdx.y];
  if (task.n_rows == 0 || blockIdx.x * kBlockRows >= task.rows) return;
  const GemvLayout<Unit> layout(tile, launch);
  auto* const sums = reinterpret_cast<float*>(dynamic_shared() + layout.warps * layout.warp_bytes);
  GemvWarp<Unit>(task, tile, layout, launch.columns).run(sums);
  // Step 4.
  finish_block(task, sums, layout.segments, layout.warps);
}

}  // namespace sluice::cuda

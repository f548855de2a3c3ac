#pragma once
// Rules 2 and 3 of canonical.h for nested planes. Half a warp takes a segment of a strip: each
// thread has one of its sixteen rows and adds up that row's terms in order, so that what lies side
// by side in memory is read together, no plane is read that the width lacks, and nothing is traded
// between threads.

#include <cstdint>

#include "cuda/gemv_finish.cuh"
#include "cuda/nested_codes.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kPlaneWarps = 8;
inline constexpr std::uint32_t kBlockColumns = kNestedBlock;

/// 32 columns of a row: their codes and what they are multiplied with.
template <typename Codes>
struct RowBlock {
  static constexpr int kGroup = Codes::Form::kGroup;
  static constexpr int kGroupCount = static_cast<int>(kBlockColumns) / kGroup;
  std::uint32_t codes[8];
  float scales[kGroupCount], mins[kGroupCount];
  int rest;
};

/// The sum over a segment of 8-bit activations.
template <typename Codes>
class QuantisedSum {
 public:
  /// `at`: the element of the activations where the block begins.
  __device__ __forceinline__ void add(const RowBlock<Codes>& block, const ProductTask& task,
                                      std::size_t at) {
    constexpr int kWords = RowBlock<Codes>::kGroup / 4;
    std::uint32_t x[8];
    const auto* const four = reinterpret_cast<const uint4*>(task.input.codes + at);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4 words = __ldg(four + i);
      x[4 * i] = words.x;
      x[4 * i + 1] = words.y;
      x[4 * i + 2] = words.z;
      x[4 * i + 3] = words.w;
    }
    Codes::arrange(x);
    const float a = __ldg(task.input.scales + at / kActivationGroup);
    const int first = __ldg(task.input.sums + at / 16), second = __ldg(task.input.sums + at / 16 + 1);
#pragma unroll
    for (int group = 0; group < RowBlock<Codes>::kGroupCount; ++group) {
      int dot = 0;
#pragma unroll
      for (int i = group * kWords; i < (group + 1) * kWords; ++i) {
        dot = __dp4a(static_cast<int>(block.codes[i]), static_cast<int>(x[i]), dot);
      }
      const int sum = kWords == 8 ? first + second : group == 0 ? first : second;
      const int whole = Codes::kFactor * (dot - Codes::kOffset * sum) + block.rest * sum;
      total_ = fmaf(block.scales[group] * a, static_cast<float>(whole), total_);
      if constexpr (Codes::Form::kHasMin) {
        total_ = fmaf(block.mins[group] * a, static_cast<float>(sum), total_);
      }
    }
  }
  __device__ __forceinline__ float total() { return total_; }

 private:
  float total_ = 0.0f;
};

/// The same of float32 activations: a thread has all sixteen lanes.
template <typename Codes>
class FloatSum {
 public:
  __device__ __forceinline__ void add(const RowBlock<Codes>& block, const ProductTask& task,
                                      std::size_t at) {
#pragma unroll
    for (int i = 0; i < static_cast<int>(kBlockColumns); ++i) {
      const int code = static_cast<std::int8_t>(block.codes[i / 4] >> 8 * (i % 4) & 0xff);
      const auto number =
          static_cast<float>(Codes::kFactor * (code - Codes::kOffset) + block.rest);
      const int column = Codes::column(i / 4, i % 4);
      const int group = column / RowBlock<Codes>::kGroup;
      // Adding a minimum of zero would turn -0 into +0.
      const float weight = Codes::Form::kHasMin
                               ? fmaf(block.scales[group], number, block.mins[group])
                               : block.scales[group] * number;
      float& lane = lanes_[column % static_cast<int>(kFloatLanes)];
      lane = fmaf(weight, __ldg(task.values + at + column), lane);
    }
  }
  __device__ __forceinline__ float total() {
    add_upper_half<8>();
    add_upper_half<4>();
    add_upper_half<2>();
    add_upper_half<1>();
    return lanes_[0];
  }

 private:
  // A constant for each step, so that lanes stay in registers.
  template <int kWidth>
  __device__ __forceinline__ void add_upper_half() {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) lanes_[i] += lanes_[i + kWidth];
  }

  float lanes_[kFloatLanes] = {};
};

/// Rows of a strip × all activation rows over one segment; `sums` as finish_block wants them, from
/// the segment on.
template <typename Codes, template <typename> typename Sum>
__device__ __forceinline__ void add_segment(const ProductTask& task, const StripPlanes& planes,
                                            std::uint32_t columns, std::uint32_t begin, int row,
                                            float* sums) {
  using Form = typename Codes::Form;
  constexpr std::uint32_t kTileBlocks = Form::kBlock / kBlockColumns;
  const std::uint32_t end = min(begin + kSegmentColumns, columns);
  const ByteTable table = Codes::table(*planes.header);
  Sum<Codes> of_rows[kMaxGemvRows];
  std::size_t x_rows[kMaxGemvRows] = {};
#pragma unroll
  for (std::uint32_t r = 0; r < kMaxGemvRows; ++r) {
    if (r >= task.n_rows) continue;
    x_rows[r] = task.row_index == nullptr ? r : __ldg(task.row_index + r);
  }
  for (std::uint32_t column = begin; column < end; column += Form::kBlock) {
    const std::size_t tile = column / Form::kBlock;
    const unsigned char* const at =
        planes.groups[0] + tile * Codes::kTileBytes + 4 * Form::kBlock;
    const typename Form::Scales scales(at, row, *planes.header);
    RowBlock<Codes> block;
    block.rest = Codes::rest(at, row);
#pragma unroll 4
    for (std::uint32_t in_tile = 0; in_tile < kTileBlocks; ++in_tile) {
      Codes::load(planes, tile, static_cast<int>(in_tile), row, table, block.codes);
#pragma unroll
      for (int group = 0; group < RowBlock<Codes>::kGroupCount; ++group) {
        const int of_tile = static_cast<int>(in_tile) * RowBlock<Codes>::kGroupCount + group;
        block.scales[group] = scales.scale(of_tile) * Codes::kPart;
        block.mins[group] = scales.min(of_tile);
      }
#pragma unroll
      for (std::uint32_t r = 0; r < kMaxGemvRows; ++r) {
        if (r >= task.n_rows) continue;
        of_rows[r].add(block, task, x_rows[r] * columns + column + in_tile * kBlockColumns);
      }
    }
  }
#pragma unroll
  for (std::uint32_t r = 0; r < kMaxGemvRows; ++r) {
    if (r < task.n_rows) sums[r * segments_of(columns) * kBlockRows] = of_rows[r].total();
  }
}

template <typename Codes, template <typename> typename Sum>
__global__ void planes_gemv_kernel(const ProductTask* tasks, ProductLaunch launch) {
  const ProductTask task = tasks[blockIdx.y];
  const std::uint32_t first_row = blockIdx.x * kBlockRows;
  if (task.n_rows == 0 || first_row >= task.rows) return;
  auto* const sums = reinterpret_cast<float*>(dynamic_shared());
  const std::uint32_t segments = segments_of(launch.columns);
  const std::uint32_t rows = min(kBlockRows, task.rows - first_row);
  const std::uint32_t strips = (rows + kStripRows - 1) / kStripRows;
  const std::uint32_t jobs = (task.up.data == nullptr ? 1 : 2) * strips * segments;
  const std::uint32_t row = threadIdx.x % kStripRows;
  for (std::uint32_t job = threadIdx.x / kStripRows; job < jobs; job += 2 * kPlaneWarps) {
    const std::uint32_t segment = job % segments, strip = job / segments % strips;
    const std::uint32_t matrix = job / segments / strips;
    // From where the tasks lie: a choice among what a thread has would cost it memory of its own.
    const ProductTask& stored = tasks[blockIdx.y];
    const StripPlanes planes = strip_planes<Codes>(
        matrix == 0 ? stored.weight : stored.up, first_row + strip * kStripRows, launch.columns);
    add_segment<Codes, Sum>(task, planes, launch.columns, segment * kSegmentColumns,
                            static_cast<int>(row),
                            sums + (matrix * task.n_rows * segments + segment) * kBlockRows +
                                strip * kStripRows + row);
  }
  finish_block(task, sums, segments, kPlaneWarps);
}

}  // namespace sluice::cuda

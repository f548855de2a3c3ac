#pragma once
// Rule 3 of canonical.h. Half a warp takes a segment of a weight row and is its sixteen lanes.
//
// A *source* of weights says where they come from:
//
//   kBytes                       of shared memory that half a warp has for a segment
//   Source(place, memory, lane)  brings the segment there, as far as that is needed; all lanes of a
//                                warp make theirs together
//   weight(i)                    number i of the segment, in float32

#include <cstdint>

#include "cuda/block_copy.cuh"
#include "cuda/gemv_finish.cuh"
#include "cuda/packed_words.cuh"
#include "cuda/stored_floats.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kFloatWarps = 8;
inline constexpr std::uint32_t kLanes = kFloatLanes;

/// A segment of a row of a matrix [rows, columns].
struct SegmentPlace {
  const std::byte* matrix;
  std::uint32_t rows, columns;
  std::uint32_t row, begin;
  std::uint32_t elements;  // 0: there is none
  __device__ std::size_t first() const { return std::size_t{row} * columns + begin; }
};

/// Numbers that lie as they are.
template <typename Stored>
class PlainFloats {
 public:
  static constexpr std::uint32_t kBytes = 0;
  __device__ PlainFloats(const SegmentPlace& place, unsigned char*, std::uint32_t)
      : from_(reinterpret_cast<const Stored*>(place.matrix) + place.first()) {}
  __device__ __forceinline__ float weight(std::uint32_t i) const { return to_float(from_[i]); }

 private:
  const Stored* from_;
};

/// A quantised format's numbers, decoded into shared memory.
template <typename Unit>
class DecodedUnits {
  static constexpr std::uint32_t kSegmentBytes = kSegmentColumns / Unit::kElements * Unit::kBytes;
  // Room for the phase of the first and the rest of the last sixteen, and for whole words.
  static constexpr std::uint32_t kRawBytes = (kSegmentBytes + 16 + 4 + 15) / 16 * 16;
  static constexpr std::uint32_t kUnitElements = Unit::kGroup * Unit::kUnitGroups;
  static constexpr std::uint32_t kBlockUnits = Unit::kElements / kUnitElements;

 public:
  static constexpr std::uint32_t kBytes =
      kRawBytes + kSegmentColumns * static_cast<std::uint32_t>(sizeof(float));

  __device__ DecodedUnits(const SegmentPlace& place, unsigned char* memory, std::uint32_t lane)
      : floats_(reinterpret_cast<float*>(memory + kRawBytes)) {
    const std::size_t begin = place.first() / Unit::kElements * Unit::kBytes;
    const std::size_t all =
        std::size_t{place.rows} * place.columns / Unit::kElements * Unit::kBytes;
    __syncwarp();  // the last segment is done with
    if (place.elements > 0) {
      copy_blocks<kLanes>(memory, place.matrix, all, begin,
                          place.elements / Unit::kElements * Unit::kBytes, lane);
    }
    commit_copies();
    wait_for_copies<0>();
    __syncwarp();
    decode(memory + (begin & 15), place.elements / kUnitElements, lane);
    __syncwarp();
  }
  __device__ __forceinline__ float weight(std::uint32_t i) const { return floats_[i]; }

 private:
  /// Element of a group that byte `byte` of its word `word` is of.
  static __device__ __forceinline__ int element(int word, int byte) {
    if constexpr (!Unit::kInterleaved) return 4 * word + byte;
    // ByteTable's order: by turns of both halves.
    return word % 4 * 4 + word / 4 * 2 + byte / 2 + byte % 2 * 16;
  }

  __device__ __forceinline__ void decode(const unsigned char* blocks, std::uint32_t units,
                                         std::uint32_t lane) {
    for (std::uint32_t at = lane; at < units; at += kLanes) {
      const std::uint32_t block = at / kBlockUnits;
      const auto unit = static_cast<int>(at % kBlockUnits);
      float* const of_unit =
          floats_ + block * Unit::kElements + Unit::first_group(unit) * Unit::kGroup;
      Unit::unit(blocks + block * Unit::kBytes, unit,
                 [&](int s, const auto& codes, float scale, float min) {
                   float* const of_group = of_unit + s * Unit::kGroupStep * Unit::kGroup;
#pragma unroll
                   for (int i = 0; i < Unit::kGroup; ++i) {
                     const int code = static_cast<std::int8_t>(codes[i / 4] >> 8 * (i % 4) & 0xff);
                     const auto number = static_cast<float>(code - Unit::kOffset);
                     // Adding a minimum of zero would turn -0 into +0.
                     of_group[element(i / 4, i % 4)] =
                         Unit::kHasMin ? fmaf(scale, number, min) : scale * number;
                   }
                 });
    }
  }

  float* floats_;
};

template <typename Source>
__global__ void float_gemv_kernel(const ProductTask* tasks, ProductLaunch launch) {
  const ProductTask task = tasks[blockIdx.y];
  const std::uint32_t first_row = blockIdx.x * kBlockRows;
  if (task.n_rows == 0 || first_row >= task.rows) return;
  const std::uint32_t segments = segments_of(launch.columns);
  const std::uint32_t rows = min(kBlockRows, task.rows - first_row);
  const std::uint32_t jobs = (task.up.data == nullptr ? 1 : 2) * rows * segments;
  const std::uint32_t half_warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  unsigned char* const memory = dynamic_shared() + half_warp * Source::kBytes;
  auto* const sums =
      reinterpret_cast<float*>(dynamic_shared() + 2 * kFloatWarps * Source::kBytes);
  // Both halves of a warp go on for as long as one has something to do, since lanes trade values.
  for (std::uint32_t turn = 0; half_warp / 2 * 2 + turn < jobs; turn += 2 * kFloatWarps) {
    const std::uint32_t job = min(half_warp + turn, jobs - 1);
    const bool real = half_warp + turn < jobs;
    const std::uint32_t segment = job % segments, row = job / segments % rows;
    const std::uint32_t matrix = job / segments / rows;
    const std::uint32_t begin = segment * kSegmentColumns;
    const std::uint32_t elements = real ? min(kSegmentColumns, launch.columns - begin) : 0;
    const SegmentPlace place = {matrix == 0 ? task.weight.data : task.up.data, task.rows, launch.columns,
                                first_row + row,                     begin,     elements};
    const Source source(place, memory, lane);
    for (std::uint32_t r = 0; r < task.n_rows; ++r) {
      const std::size_t x_row = task.row_index == nullptr ? r : __ldg(task.row_index + r);
      const float* const x = task.values + x_row * launch.columns + begin;
      float sum = 0.0f;
#pragma unroll 8
      for (std::uint32_t i = lane; i < elements; i += kLanes) {
        sum = fmaf(source.weight(i), __ldg(x + i), sum);
      }
      for (std::uint32_t width = kLanes / 2; width > 0; width /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, width);
      }
      if (real && lane == 0) sums[((matrix * task.n_rows + r) * segments + segment) * kBlockRows + row] = sum;
    }
  }
  finish_block(task, sums, segments, kFloatWarps);
}

}  // namespace sluice::cuda

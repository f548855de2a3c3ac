// Weights that lie input by input (WeightLayout::kColumns): the outputs that a register's lanes
// hold are neighbours, so a dot product's sixteen lanes (canonical.h's rule 3) are sixteen
// registers, and nothing is turned.

#include "base/canonical.h"
#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kOutputs = kLanes;
/// Of rule 3's sixteen lanes, as many at a time as there are registers.
constexpr std::size_t kLanesTogether = kTile;
constexpr std::size_t kAhead = 16;  // inputs that are asked for ahead: each is on a page of its own

struct Scratch {
  alignas(64) float panel[kSegment][kOutputs];
  alignas(64) float totals[kTileActivationRows][kTileWeightRows];
};
static_assert(sizeof(Scratch) <= kDotScratchBytes);

inline Lanes load_f32(const std::byte* p) {
  float values[kLanes];
  std::memcpy(values, p, sizeof(values));
  return lanes_load(values);
}

/// Inputs [begin, begin + elements) of `rows` <= 16 outputs, in float32.
template <Lanes (*kLoad)(const std::byte*), std::size_t kBytes>
void fill(const DotTile& tile, std::size_t first, std::size_t rows, std::size_t begin,
          std::size_t elements, Scratch& scratch) {
  const bool neighbours = tile.row_step == 1 && rows == kOutputs;
  const std::size_t step = tile.row_step * kBytes, stride = tile.column_stride * kBytes;
  const std::byte* from = tile.weight + first * step + begin * stride;
  std::byte gathered[kOutputs * kBytes] = {};
  for (std::size_t i = 0; i < elements; ++i, from += stride) {
    __builtin_prefetch(from + kAhead * stride);
    if (!neighbours) {
      for (std::size_t r = 0; r < rows; ++r) {
        std::memcpy(gathered + r * kBytes, from + r * step, kBytes);
      }
    }
    lanes_store(scratch.panel[i], kLoad(neighbours ? from : gathered));
  }
}

/// totals += a segment's dots of the panel's outputs and x.
void add(const float (*panel)[kOutputs], const float* x, std::size_t elements, float* totals) {
  Lanes sums[kFloatLanes];
  const std::size_t whole = elements / kFloatLanes * kFloatLanes;
  for (std::size_t lane = 0; lane < kFloatLanes; lane += kLanesTogether) {
    Lanes some[kLanesTogether];
    for (Lanes& sum : some) sum = lanes_zero();
    for (std::size_t i = lane; i < whole; i += kFloatLanes) {
#pragma GCC unroll 16
      for (std::size_t j = 0; j < kLanesTogether; ++j) {
        some[j] = lanes_fma(lanes_load(panel[i + j]), lanes_set(x[i + j]), some[j]);
      }
    }
    for (std::size_t j = 0; j < kLanesTogether; ++j) sums[lane + j] = some[j];
  }
  for (std::size_t i = whole; i < elements; ++i) {
    sums[i - whole] = lanes_fma(lanes_load(panel[i]), lanes_set(x[i]), sums[i - whole]);
  }
  for (std::size_t width = kFloatLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) sums[i] = sums[i] + sums[i + width];
  }
  lanes_store(totals, lanes_load(totals) + sums[0]);
}

}  // namespace

void column_dot(const DotTile& tile, std::byte* scratch) {
  Scratch& working = *reinterpret_cast<Scratch*>(scratch);
  std::memset(working.totals, 0, tile.n_rows * sizeof(working.totals[0]));
  for (std::size_t begin = 0; begin < tile.columns; begin += kSegment) {
    const std::size_t elements = at_most(tile.columns - begin, kSegment);
    for (std::size_t first = 0; first < tile.weight_rows; first += kOutputs) {
      const std::size_t rows = at_most(tile.weight_rows - first, kOutputs);
      if (tile.format->type == TensorType::kF32) {
        fill<load_f32, 4>(tile, first, rows, begin, elements, working);
      } else if (tile.format->type == TensorType::kF16) {
        fill<lanes_load_half, 2>(tile, first, rows, begin, elements, working);
      } else {
        fill<lanes_load_bf16, 2>(tile, first, rows, begin, elements, working);
      }
      for (std::size_t r = 0; r < tile.n_rows; ++r) {
        const std::size_t row = tile.row_index != nullptr ? tile.row_index[r] : r;
        add(working.panel, tile.values + row * tile.columns + begin, elements,
            working.totals[r] + first);
      }
    }
  }
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    for (std::size_t i = 0; i < tile.weight_rows; ++i) {
      const float total = working.totals[r][i];
      tile.output[r * tile.output_stride + i] = tile.bias != nullptr ? total + tile.bias[i] : total;
    }
  }
}

}  // namespace sluice::SLUICE_ISA

// Weights that lie input by input (WeightLayout::kColumns): the outputs that a register's lanes
// hold are neighbours, so a dot product's sixteen lanes (canonical.h's rule 3) are sixteen
// registers, and nothing is turned. One activation row takes an input's weights for all outputs
// together, and an input that is zero is not even read: its products leave a sum as it was but for
// the sign of a zero, which the first addition to a total takes away (it starts from +0).

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
  // Of one activation row:
  alignas(64) float sums[kFloatLanes][kTileWeightRows];
  std::uint16_t active[kSegment];  // inputs that are not zero
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

/// Rule 3's last step for each output.
inline Lanes reduced(Lanes (&sums)[kFloatLanes]) {
  for (std::size_t width = kFloatLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) sums[i] = sums[i] + sums[i + width];
  }
  return sums[0];
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
  lanes_store(totals, lanes_load(totals) + reduced(sums));
}

/// Notes a segment's inputs that are not zero; returns how many.
std::size_t find_active(const float* x, std::size_t elements, std::uint16_t* active) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < elements; ++i) {
    active[count] = static_cast<std::uint16_t>(i);
    count += x[i] != 0 ? 1 : 0;  // NaN is not zero
  }
  return count;
}

/// totals += a segment's dots of one activation row and all outputs of the tile.
template <Lanes (*kLoad)(const std::byte*), std::size_t kBytes>
void add_row(const DotTile& tile, std::size_t begin, std::size_t elements, const float* x,
             Scratch& scratch) {
  const std::size_t stride = tile.column_stride * kBytes;
  const std::byte* const from = tile.weight + begin * stride;
  const std::size_t whole = tile.weight_rows / kOutputs * kOutputs;
  const std::size_t count = find_active(x, elements, scratch.active);
  std::memset(scratch.sums, 0, sizeof(scratch.sums));
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t i = scratch.active[k];
    if (k + kAhead < count) {
      prefetch(from + scratch.active[k + kAhead] * stride, tile.weight_rows * kBytes);
    }
    const std::byte* const weights = from + i * stride;
    float* const sums = scratch.sums[i % kFloatLanes];
    const Lanes input = lanes_set(x[i]);
    for (std::size_t first = 0; first < whole; first += kOutputs) {
      lanes_store(sums + first,
                  lanes_fma(kLoad(weights + first * kBytes), input, lanes_load(sums + first)));
    }
    if (whole < tile.weight_rows) {
      std::byte last[kOutputs * kBytes] = {};
      std::memcpy(last, weights + whole * kBytes, (tile.weight_rows - whole) * kBytes);
      lanes_store(sums + whole, lanes_fma(kLoad(last), input, lanes_load(sums + whole)));
    }
  }
  float* const totals = scratch.totals[0];
  for (std::size_t first = 0; first < tile.weight_rows; first += kOutputs) {
    Lanes lanes[kFloatLanes];
    for (std::size_t lane = 0; lane < kFloatLanes; ++lane) {
      lanes[lane] = lanes_load(scratch.sums[lane] + first);
    }
    lanes_store(totals + first, lanes_load(totals + first) + reduced(lanes));
  }
}

}  // namespace

void column_dot(const DotTile& tile, std::byte* scratch) {
  Scratch& working = *reinterpret_cast<Scratch*>(scratch);
  std::memset(working.totals, 0, tile.n_rows * sizeof(working.totals[0]));
  const auto activations = [&](std::size_t r) {
    return tile.values + (tile.row_index != nullptr ? tile.row_index[r] : r) * tile.columns;
  };
  const auto add_segments = [&]<Lanes (*kLoad)(const std::byte*), std::size_t kBytes>() {
    for (std::size_t begin = 0; begin < tile.columns; begin += kSegment) {
      const std::size_t elements = at_most(tile.columns - begin, kSegment);
      if (tile.n_rows == 1 && tile.row_step == 1) {
        add_row<kLoad, kBytes>(tile, begin, elements, activations(0) + begin, working);
        continue;
      }
      for (std::size_t first = 0; first < tile.weight_rows; first += kOutputs) {
        const std::size_t rows = at_most(tile.weight_rows - first, kOutputs);
        fill<kLoad, kBytes>(tile, first, rows, begin, elements, working);
        for (std::size_t r = 0; r < tile.n_rows; ++r) {
          add(working.panel, activations(r) + begin, elements, working.totals[r] + first);
        }
      }
    }
  };
  if (tile.format->type == TensorType::kF32) {
    add_segments.template operator()<load_f32, 4>();
  } else if (tile.format->type == TensorType::kF16) {
    add_segments.template operator()<lanes_load_half, 2>();
  } else {
    add_segments.template operator()<lanes_load_bf16, 2>();
  }
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    for (std::size_t i = 0; i < tile.weight_rows; ++i) {
      const float total = working.totals[r][i];
      tile.output[r * tile.output_stride + i] = tile.bias != nullptr ? total + tile.bias[i] : total;
    }
  }
}

}  // namespace sluice::SLUICE_ISA

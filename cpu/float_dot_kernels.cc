// Float activations: canonical.h's rule 3 for a tile. Weights are brought to float32 a segment at a
// time, unless they are float32 already.

#include "base/canonical.h"
#include "cpu/dot_kernels.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kStripRows = 8;  // weight rows decoded at a time: 16 KiB, half of an L1 cache
// A register tile: as many running sums as lanes_sum_tile reduces at once.
constexpr std::size_t kTileColumns = kTile == 16 ? 4 : 2;
constexpr std::size_t kTileRows = kTile / kTileColumns;

struct Scratch {
  alignas(64) float weights[kStripRows][kSegment];
  alignas(64) float totals[kTileActivationRows][kTileWeightRows];
};
static_assert(sizeof(Scratch) <= kDotScratchBytes);

/// totals[c][r] += segment's dot of weights[r] and x[c], for a register tile.
void add_tile(const float* const* weights, const float* const* x, std::size_t elements,
              float* const* totals) {
  Lanes sums[kTile];
  for (Lanes& sum : sums) sum = lanes_zero();
  const auto step = [&](const auto& load, std::size_t at) {
    Lanes w[kTileRows];
    for (std::size_t r = 0; r < kTileRows; ++r) w[r] = load(weights[r] + at);
    for (std::size_t c = 0; c < kTileColumns; ++c) {
      const Lanes v = load(x[c] + at);
      for (std::size_t r = 0; r < kTileRows; ++r) {
        sums[c * kTileRows + r] = lanes_fma(w[r], v, sums[c * kTileRows + r]);
      }
    }
  };
  std::size_t at = 0;
  for (; at + kLanes <= elements; at += kLanes) step(lanes_load, at);
  if (at < elements) {
    step([&](const float* p) { return lanes_load_part(p, elements - at); }, at);
  }
  float results[kTile];
  lanes_sum_tile(sums, results);
  for (std::size_t c = 0; c < kTileColumns; ++c) {
    for (std::size_t r = 0; r < kTileRows; ++r) totals[c][r] += results[c * kTileRows + r];
  }
}

/// The same for single dots: what is left at the edges, and one activation row.
template <std::size_t kRows>
void add_row(const float* const* weights, const float* x, std::size_t elements, float* totals) {
  Lanes sums[kRows];
  for (Lanes& sum : sums) sum = lanes_zero();
  std::size_t at = 0;
  for (; at + kLanes <= elements; at += kLanes) {
    const Lanes v = lanes_load(x + at);
    for (std::size_t r = 0; r < kRows; ++r) {
      sums[r] = lanes_fma(lanes_load(weights[r] + at), v, sums[r]);
    }
  }
  if (at < elements) {
    const Lanes v = lanes_load_part(x + at, elements - at);
    for (std::size_t r = 0; r < kRows; ++r) {
      sums[r] = lanes_fma(lanes_load_part(weights[r] + at, elements - at), v, sums[r]);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) totals[r] += lanes_sum(sums[r]);
}

}  // namespace

void float_dot(const DotTile& tile, std::byte* scratch) {
  Scratch& working = *reinterpret_cast<Scratch*>(scratch);
  const TensorFormat& format = *tile.format;
  std::memset(working.totals, 0, tile.n_rows * sizeof(working.totals[0]));
  const auto activation_row = [&](std::size_t r) {
    return tile.values + (tile.row_index != nullptr ? tile.row_index[r] : r) * tile.columns;
  };
  for (std::size_t begin = 0; begin < tile.columns; begin += kSegment) {
    const std::size_t elements = tile.columns - begin < kSegment ? tile.columns - begin : kSegment;
    const std::size_t skipped = begin / format.block_elements * format.block_bytes;
    for (std::size_t first = 0; first < tile.weight_rows; first += kStripRows) {
      const std::size_t rows =
          tile.weight_rows - first < kStripRows ? tile.weight_rows - first : kStripRows;
      const float* weights[kStripRows];
      for (std::size_t i = 0; i < rows; ++i) {
        format.decode(tile.weight + (first + i) * tile.row_bytes + skipped, working.weights[i],
                      elements);
        weights[i] = working.weights[i];
      }
      std::size_t r = 0;
      for (; r + kTileColumns <= tile.n_rows; r += kTileColumns) {
        const float* x[kTileColumns];
        for (std::size_t c = 0; c < kTileColumns; ++c) x[c] = activation_row(r + c) + begin;
        std::size_t i = 0;
        for (; i + kTileRows <= rows; i += kTileRows) {
          float* totals[kTileColumns];
          for (std::size_t c = 0; c < kTileColumns; ++c) {
            totals[c] = working.totals[r + c] + first + i;
          }
          add_tile(weights + i, x, elements, totals);
        }
        for (; i < rows; ++i) {
          for (std::size_t c = 0; c < kTileColumns; ++c) {
            add_row<1>(weights + i, x[c], elements, working.totals[r + c] + first + i);
          }
        }
      }
      for (; r < tile.n_rows; ++r) {
        const float* const x = activation_row(r) + begin;
        std::size_t i = 0;
        for (; i + 4 <= rows; i += 4) {
          add_row<4>(weights + i, x, elements, working.totals[r] + first + i);
        }
        for (; i < rows; ++i) add_row<1>(weights + i, x, elements, working.totals[r] + first + i);
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

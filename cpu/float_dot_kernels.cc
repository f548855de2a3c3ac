// Float activations: canonical.h's rule 3 for a tile. Weights are brought to float32 a segment at a
// time, unless they are float32 already.

#include "base/canonical.h"
#include "base/strip_layout.h"
#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"
#include "cpu/strip_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

// A register tile: as many running sums as lanes_sum_tile reduces at once.
constexpr std::size_t kTileColumns = kTile == 16 ? 4 : 2;
constexpr std::size_t kTileRows = kTile / kTileColumns;

struct Scratch {
  alignas(64) std::byte turned[kMaxStripBytes];
  Panel panel;
  alignas(64) float weights[kStripRows][kSegment];
  alignas(64) float totals[kTileActivationRows][kTileWeightRows];
};
static_assert(sizeof(Scratch) <= kDotScratchBytes);

/// `elements` 16-bit floats → float32.
template <Lanes (*kLoad)(const std::byte*)>
void widen(const std::byte* from, std::size_t elements, float* out) {
  std::size_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) lanes_store(out + i, kLoad(from + 2 * i));
  if (i < elements) {
    std::byte padded[2 * kLanes] = {};
    std::memcpy(padded, from + 2 * i, 2 * (elements - i));
    lanes_store_part(out + i, kLoad(padded), elements - i);
  }
}

float plain_number(const TensorFormat& format, const std::byte* from) {
  if (format.type == TensorType::kF16) return load_half(from);
  std::uint32_t bits = 0;
  if (format.type == TensorType::kF32) {
    std::memcpy(&bits, from, sizeof(bits));
  } else {
    std::uint16_t high;
    std::memcpy(&high, from, sizeof(high));
    bits = std::uint32_t{high} << 16;
  }
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

/// `elements` codes of E4M3 times `factor` → float32. A half has the same fields, wider and with 8
/// more of bias: the same number times 2^-8.
void widen_f8(const std::byte* codes, std::size_t elements, float factor, float* out) {
  std::uint16_t halves[kSegment + kLanes];
  for (std::size_t i = 0; i < elements; ++i) {
    const auto code = static_cast<unsigned>(codes[i]);
    const unsigned magnitude = code & 0x7f;
    const unsigned half = magnitude == 0x7f ? 0x7e00 : magnitude << 7;  // the only NaN
    halves[i] = static_cast<std::uint16_t>((code & 0x80) << 8 | half);
  }
  std::memset(halves + elements, 0, kLanes * sizeof(halves[0]));
  const Lanes power = lanes_set(256), scale = lanes_set(factor);
  const auto at = [&](std::size_t i) {
    return lanes_load_half(reinterpret_cast<const std::byte*>(halves + i)) * power * scale;
  };
  std::size_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) lanes_store(out + i, at(i));
  if (i < elements) lanes_store_part(out + i, at(i), elements - i);
}

/// A segment of weight row `row` of the tile's matrix, block of factors by block.
void scale_f8(const DotTile& tile, std::size_t row, const std::byte* codes, std::size_t begin,
              std::size_t elements, float* out) {
  const ScaleGrid& grid = tile.grid;
  if (grid.format == nullptr) return widen_f8(codes, elements, 1.0f, out);
  const std::byte* const factors = grid.data + grid.row_offset(row, tile.columns);
  for (std::size_t done = 0; done < elements;) {
    const std::size_t block = (begin + done) / grid.block_columns;
    const std::size_t count =
        at_most(elements - done, (block + 1) * grid.block_columns - begin - done);
    widen_f8(codes + done, count,
             plain_number(*grid.format, factors + block * grid.format->block_bytes), out + done);
    done += count;
  }
}

/// Row `row` of a panel → float32, as TensorFormat::decode: where there is a minimum scale * code
/// is exact, so that fma rounds as it does. Of planes with offsets their integer is exact, too.
void decode(const DotTile& tile, const StripFormat& strip, const Panel& panel, std::size_t row,
            std::size_t elements, float* out) {
  const TensorFormat& format = *tile.format;
  for (std::size_t i = 0; i < elements; i += 16) {
    std::uint8_t codes[16];
    for (std::size_t j = 0; j < 16; j += 4) {
      std::memcpy(codes + j, panel.codes[(i + j) / 4] + 4 * row, 4);
    }
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(code - strip.offset);
    const std::size_t group = i / format.group;
    Lanes values = lanes_load_codes(reinterpret_cast<const std::byte*>(codes));
    if (strip.code_factor != 0) {
      const int rest = panel.row_terms[group][row] + strip.code_factor * strip.offset;
      values = lanes_fma(values, lanes_set(static_cast<float>(strip.code_factor)),
                         lanes_set(static_cast<float>(rest)));
    }
    const Lanes scale = lanes_set(panel.scales[group][row]);
    // Adding a minimum of zero would turn -0 into +0.
    lanes_store(out + i, format.has_min
                             ? lanes_fma(scale, values, lanes_set(panel.mins[group][row]))
                             : scale * values);
  }
}

/// A segment of up to sixteen rows in float32: where they lie, or in `out`.
void in_float32(const DotTile& tile, std::size_t first_row, std::size_t rows, std::size_t begin,
                std::size_t elements, Scratch& scratch, const float** weights) {
  const TensorFormat& format = *tile.format;
  if (format.quantised()) {
    const StripFormat& strip = strip_format(tile);
    strip.unpack(turned_strip(tile, first_row, begin, elements, scratch.turned), elements,
                 scratch.panel);
    for (std::size_t row = 0; row < rows; ++row) {
      decode(tile, strip, scratch.panel, row, elements, scratch.weights[row]);
      weights[row] = scratch.weights[row];
    }
    return;
  }
  const std::byte* from = tile.weight + first_row * tile.row_bytes + format.bytes(begin);
  for (std::size_t row = 0; row < rows; ++row, from += tile.row_bytes) {
    prefetch(from + kStripRows * tile.row_bytes, format.bytes(elements));
    weights[row] = scratch.weights[row];
    if (format.type == TensorType::kF32) {
      weights[row] = reinterpret_cast<const float*>(from);
    } else if (format.type == TensorType::kF16) {
      widen<lanes_load_half>(from, elements, scratch.weights[row]);
    } else if (format.type == TensorType::kBF16) {
      widen<lanes_load_bf16>(from, elements, scratch.weights[row]);
    } else if (format.type == TensorType::kF8_E4M3) {
      scale_f8(tile, tile.first_row + first_row + row, from, begin, elements, scratch.weights[row]);
    } else {  // nothing that large matrices come in
      format.decode(from, scratch.weights[row], elements);
    }
  }
}

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
  std::memset(working.totals, 0, tile.n_rows * sizeof(working.totals[0]));
  const auto activation_row = [&](std::size_t r) {
    return tile.values + (tile.row_index != nullptr ? tile.row_index[r] : r) * tile.columns;
  };
  for (std::size_t begin = 0; begin < tile.columns; begin += kSegment) {
    const std::size_t elements = tile.columns - begin < kSegment ? tile.columns - begin : kSegment;
    for (std::size_t first = 0; first < tile.weight_rows; first += kStripRows) {
      const std::size_t rows =
          tile.weight_rows - first < kStripRows ? tile.weight_rows - first : kStripRows;
      const float* weights[kStripRows];
      in_float32(tile, first, rows, begin, elements, working, weights);
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

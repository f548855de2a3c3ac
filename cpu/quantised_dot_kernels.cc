// Quantised weights × 8-bit activations: canonical.h's rule 2 for a tile.
//
// A tile is cut into strips of sixteen weight rows (base/strip_layout.h). A strip that lies turned
// in memory is read from end to end; of one that lies as in the file, a run of columns is turned
// first, into scratch. Then
//   few activation rows:   the strip's codes are multiplied as they are unpacked;
//   many activation rows:  they are unpacked once, into a panel that stays in the L1 cache, a
//                          segment of 512 columns at a time.
// All give the same integers and the same order of terms, so all give the same bits.

#include "base/canonical.h"
#include "base/strip_layout.h"
#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"
#include "cpu/strip_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kStrips = kTileWeightRows / kStripRows;
/// So many segments of a strip are taken on end.
constexpr std::size_t kRunSegments = 8;

/// Running sums of a strip: [activation row][weight row].
using StripTotals = float[kTileActivationRows][kStripRows];

struct Scratch {
  alignas(64) std::byte turned[kRunSegments * kMaxStripBytes];
  Panel panels[kRegisterStrips];
  ActivationSegment activations[kTileActivationRows];
  alignas(64) StripTotals totals[kStrips];
};
static_assert(sizeof(Scratch) <= kDotScratchBytes);
static_assert(kFewRows * kRunSegments <= kTileActivationRows);

void prepare(const DotTile& tile, std::size_t begin, std::size_t elements, int sum_factor,
             ActivationSegment* segments) {
  const std::size_t group = tile.format->group;
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    const std::size_t row = tile.row_index != nullptr ? tile.row_index[r] : r;
    const std::int16_t* const sums = tile.sums + (row * tile.columns + begin) / 16;
    ActivationSegment& segment = segments[r];
    segment.codes = tile.codes + row * tile.columns + begin;
    segment.scales = tile.scales + (row * tile.columns + begin) / kActivationGroup;
    const auto each_sum = [&](const auto& use) {
      for (std::size_t i = 0; i < elements / group; ++i) {
        use(i, group == 16 ? sums[i] : sums[2 * i] + sums[2 * i + 1]);
      }
    };
    if (tile.format->has_min) {
      each_sum([&](std::size_t i, int sum) { segment.sums[i] = static_cast<float>(sum); });
    }
    if (sum_factor != 0) {
      each_sum([&](std::size_t i, int sum) { segment.corrections[i] = sum_factor * sum; });
    }
  }
}

void multiply_few(const DotTile& tile, const StripFormat& format, std::size_t strips,
                  Scratch& scratch) {
  for (std::size_t begin = 0; begin < tile.columns; begin += kRunSegments * kSegment) {
    const std::size_t run = at_most(tile.columns - begin, kRunSegments * kSegment);
    for (std::size_t from = 0; from < run; from += kSegment) {
      prepare(tile, begin + from, at_most(run - from, kSegment), format.sum_factor,
              scratch.activations + from / kSegment * tile.n_rows);
    }
    for (std::size_t strip = 0; strip < strips; ++strip) {
      format.multiply(turned_strip(tile, strip * kStripRows, begin, run, scratch.turned), run,
                      scratch.activations, tile.n_rows, scratch.totals[strip]);
    }
  }
}

void multiply_many(const DotTile& tile, const StripFormat& format, std::size_t strips,
                   Scratch& scratch) {
  float(*totals[kStrips])[kStripRows];
  for (std::size_t strip = 0; strip < strips; ++strip) totals[strip] = scratch.totals[strip];
  for (std::size_t begin = 0; begin < tile.columns; begin += kSegment) {
    const std::size_t elements = at_most(tile.columns - begin, kSegment);
    prepare(tile, begin, elements, format.sum_factor, scratch.activations);
    for (std::size_t strip = 0; strip < strips; ++strip) {
      const std::size_t panel = strip % kRegisterStrips;
      format.unpack(turned_strip(tile, strip * kStripRows, begin, elements, scratch.turned),
                    elements, scratch.panels[panel]);
      if (panel + 1 < kRegisterStrips && strip + 1 < strips) continue;
      format.multiply_panels(scratch.panels, panel + 1, elements, scratch.activations, tile.n_rows,
                             totals + strip - panel);
    }
  }
}

void write_output(const DotTile& tile, const StripTotals* totals) {
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    float* const out = tile.output + r * tile.output_stride;
    for (std::size_t first = 0; first < tile.weight_rows; first += kStripRows) {
      const std::size_t left = tile.weight_rows - first;
      Lanes result = lanes_load(totals[first / kStripRows][r]);
      if (left >= kStripRows) {
        if (tile.bias != nullptr) result = result + lanes_load(tile.bias + first);
        lanes_store(out + first, result);
      } else {
        if (tile.bias != nullptr) result = result + lanes_load_part(tile.bias + first, left);
        lanes_store_part(out + first, result, left);
      }
    }
  }
}

}  // namespace

void quantised_dot(const DotTile& tile, std::byte* scratch) {
  if (tile.n_rows == 0) return;
  const StripFormat& format = strip_format(tile);
  Scratch& working = *reinterpret_cast<Scratch*>(scratch);
  const std::size_t strips = (tile.weight_rows + kStripRows - 1) / kStripRows;
  for (std::size_t strip = 0; strip < strips; ++strip) {
    std::memset(working.totals[strip], 0, tile.n_rows * sizeof(working.totals[0][0]));
  }
  if (tile.n_rows <= format.few_rows) {
    multiply_few(tile, format, strips, working);
  } else {
    multiply_many(tile, format, strips, working);
  }
  write_output(tile, working.totals);
}

}  // namespace sluice::SLUICE_ISA

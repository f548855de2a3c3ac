// Quantised weights × 8-bit activations: canonical.h's rule 2 for a tile.
//
// A lane is a weight row. Whatever the instruction set, a tile is cut into strips of sixteen weight
// rows and segments of 512 columns, and each row's part of a segment is unpacked once, into bytes
// that are the same for every format. Then
//   one activation row:    memory is what costs, so a format whose codes need but be multiplied has
//                          them multiplied as they are unpacked, four rows at a time, whose
//                          integers and scales are then turned (StripTerms);
//   few activation rows:   weights are read from end to end, row by row; each row's integer dots of
//                          all groups come out of byte products along the row. Strip by strip they
//                          and the scales are turned, so that lanes are rows, and added up in
//                          order;
//   many activation rows:  the codes themselves are turned into a panel [column / 4][row][4] that
//                          stays in the L1 cache, and each group's integers appear with lanes as
//                          rows.
// All give the same integers, so all give the same bits.

#include "base/canonical.h"
#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"
#include "cpu/segment_codes.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kStripRows = StripTerms::kRows;
constexpr std::size_t kStrips = kTileWeightRows / kStripRows;
constexpr std::size_t kMaxGroups = kSegment / 16;
/// Bytes between what is read and what is asked for. Measured: a page or so ahead.
constexpr std::size_t kPrefetchAhead = 4096;
/// Up to here rows are turned after the dot, above before it. Measured.
constexpr std::size_t kFewRows = 3;

/// An activation row's part under a segment. Padded with zero codes, so that whole segments may be
/// read.
struct ActivationSegment {
  alignas(64) std::int8_t codes[kSegment];
  std::int32_t corrections[kMaxGroups];  // -offset * sum, by group
  float sums[kMaxGroups];                // by group
  float scales[kMaxGroups];              // by group of weights, be it 16 or 32
};

/// A segment of sixteen weight rows.
struct Strip {
  alignas(64) std::uint8_t codes[kStripRows][kSegment];
  float scales[kStripRows][kMaxGroups];
  float mins[kStripRows][kMaxGroups];
};

/// The same with rows as lanes.
struct Panel {
  alignas(64) std::uint8_t codes[kSegment / 4][kStripRows][4];
  float scales[kMaxGroups][kStripRows];
  float mins[kMaxGroups][kStripRows];
};

/// The factors of a strip's terms before they are turned, under one segment and one activation row.
template <std::size_t kGroup>
struct Terms {
  static constexpr std::size_t kGroups = kSegment / kGroup;
  alignas(64) float scales[kStripRows][kGroups];
  float dots[kStripRows][kGroups];
  float mins[kStripRows][kGroups];  // only where the format has them
};

/// So many segments of a weight row are read on end at most: all of it, where rows are no longer
/// than this.
constexpr std::size_t kRunSegments = 4;
/// Terms of so many segments, times activation rows, are kept at a time.
constexpr std::size_t kTerms = 12;
static_assert(kFewRows <= kTerms);
static_assert(kRunSegments * sizeof(StripTerms) <= kTerms * sizeof(Terms<16>));

/// Running sums of a strip: [activation row][weight row].
using StripTotals = float[kTileActivationRows][kStripRows];

struct Scratch {
  Strip strip;
  Panel panels[kRegisterStrips];
  alignas(64) std::byte terms[kTerms * sizeof(Terms<16>)];
  ActivationSegment activations[kTileActivationRows];
  alignas(64) StripTotals totals[kStrips];
};
static_assert(sizeof(Scratch) <= kDotScratchBytes);

template <std::size_t kGroup>
void prepare(const DotTile& tile, std::size_t begin, std::size_t elements, int offset,
             ActivationSegment* segments) {
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    const std::size_t row = tile.row_index != nullptr ? tile.row_index[r] : r;
    const std::int8_t* const codes = tile.codes + row * tile.columns + begin;
    const float* const scales = tile.scales + (row * tile.columns + begin) / 32;
    const std::int16_t* sums = tile.sums + (row * tile.columns + begin) / 16;
    ActivationSegment& segment = segments[r];
    std::memcpy(segment.codes, codes, elements);
    std::int16_t padded[kMaxGroups] = {};
    if (elements < kSegment) {
      std::memset(segment.codes + elements, 0, kSegment - elements);
      std::memcpy(padded, sums, elements / 16 * sizeof(std::int16_t));
      sums = padded;
    }
    if (kGroup == 32) interleave(segment.codes);
    Ints corrections[2], exact[2];
    group_sums<kGroup>(sums, -offset, corrections);
    group_sums<kGroup>(sums, 1, exact);
    for (std::size_t part = 0; part < 32 / kGroup; ++part) {
      ints_store(segment.corrections + 16 * part, corrections[part]);
      lanes_store(segment.sums + 16 * part, to_lanes(exact[part]));
    }
    for (std::size_t group = 0; group < elements / kGroup; ++group) {
      segment.scales[group] = scales[group * kGroup / 32];
    }
  }
}

/// Sets `row` of the terms from the dots and scales of that weight row's groups.
template <std::size_t kGroup, bool kMin>
void make_terms(const Ints* dots, const float* scales, const float* mins,
                const ActivationSegment& x, std::size_t row, Terms<kGroup>& terms) {
  for (std::size_t at = 0; at < kSegment / kGroup; at += kLanes) {
    const Lanes scale = lanes_load(x.scales + at);
    lanes_store(terms.dots[row] + at, to_lanes(dots[at / kLanes] + ints_load(x.corrections + at)));
    lanes_store(terms.scales[row] + at, lanes_load_fresh(scales + at) * scale);
    if (kMin) lanes_store(terms.mins[row] + at, lanes_load_fresh(mins + at) * scale);
  }
}

/// One weight row's part of a segment under each of the activation rows, `x` and `terms` one for
/// each.
template <std::size_t kGroup, bool kMin, bool kWide>
void multiply_row(const TensorFormat& table_row, const SegmentFormat& format,
                  const std::byte* blocks, std::size_t elements, const ActivationSegment* x,
                  std::size_t n_rows, std::size_t row, Terms<kGroup>* terms) {
  alignas(64) std::uint8_t codes[kSegment];
  alignas(64) float scales[kMaxGroups];
  alignas(64) float mins[kMaxGroups];
  Ints dots[2];
  format.unpack(table_row, blocks, elements, codes, scales, mins);
  for (std::size_t r = 0; r < n_rows; ++r) {
    group_dots<kGroup, kWide>(codes, x[r].codes, dots);
    make_terms<kGroup, kMin>(dots, scales, mins, x[r], row, terms[r]);
  }
}

/// total = total + the sum of the terms, a lane for each weight row.
template <std::size_t kGroup, bool kMin>
void add_terms(const Terms<kGroup>& terms, const ActivationSegment& x, std::size_t groups,
               float* total) {
  constexpr std::size_t kStride = kSegment / kGroup;
  Lanes sum = lanes_zero();
  for (std::size_t first = 0; first < groups; first += 4) {
    Lanes dots[4], scales[4], mins[4];
    transpose_4(terms.dots[0] + first, kStride, dots);
    transpose_4(terms.scales[0] + first, kStride, scales);
    if (kMin) transpose_4(terms.mins[0] + first, kStride, mins);
    const std::size_t count = groups - first < 4 ? groups - first : 4;
    for (std::size_t i = 0; i < count; ++i) {
      sum = lanes_fma(scales[i], dots[i], sum);
      if (kMin) sum = lanes_fma(mins[i], lanes_set(x.sums[first + i]), sum);
    }
  }
  lanes_store(total, lanes_load(total) + sum);
}

template <bool kMin>
void turn(const Strip& strip, std::size_t elements, std::size_t groups, Panel& panel) {
  const auto* const codes = reinterpret_cast<const float*>(strip.codes);
  auto* const turned = reinterpret_cast<float*>(panel.codes);
  Lanes columns[4];
  constexpr std::size_t kRun = 32 * kInterleave;
  const std::size_t words = (elements + kRun - 1) / kRun * kRun / 4;
  for (std::size_t word = 0; word < words; word += 4) {
    transpose_4(codes + word, kSegment / 4, columns);
    for (std::size_t i = 0; i < 4; ++i) lanes_store(turned + (word + i) * kStripRows, columns[i]);
  }
  for (std::size_t group = 0; group < groups; group += 4) {
    transpose_4(strip.scales[0] + group, kMaxGroups, columns);
    for (std::size_t i = 0; i < 4; ++i) lanes_store(panel.scales[group + i], columns[i]);
    if (!kMin) continue;
    transpose_4(strip.mins[0] + group, kMaxGroups, columns);
    for (std::size_t i = 0; i < 4; ++i) lanes_store(panel.mins[group + i], columns[i]);
  }
}

/// Where a group's codes begin in a segment, and how far behind its first sixteen the second
/// sixteen are (code_lanes.h).
template <std::size_t kGroup>
std::size_t first_code(std::size_t group) {
  return kGroup == 16 ? 16 * group : 32 * group - 16 * (group % kInterleave);
}
constexpr std::size_t kToSecondSixteen = 16 * kInterleave;

/// total = total + the segment's dots, for kPanels strips of weight rows and kRows activation rows.
template <std::size_t kGroup, bool kMin, bool kWide, std::size_t kPanels, std::size_t kRows>
void multiply_panels(const Panel* panels, const ActivationSegment* x, std::size_t groups,
                     StripTotals* totals, std::size_t row) {
  Lanes sums[kPanels][kRows];
  for (std::size_t p = 0; p < kPanels; ++p) {
    for (std::size_t r = 0; r < kRows; ++r) sums[p][r] = lanes_zero();
  }
  for (std::size_t group = 0; group < groups; ++group) {
    Ints dots[kPanels][kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t p = 0; p < kPanels; ++p) dots[p][r] = ints_set(x[r].corrections[group]);
    }
    const std::size_t first = first_code<kGroup>(group);
    for (std::size_t half = 0; half < kGroup / 16; ++half) {
      for (std::size_t word = 0; word < 4; ++word) {
        const std::size_t at = first + half * kToSecondSixteen + word * 4;
        CodePanel codes[kPanels];
        for (std::size_t p = 0; p < kPanels; ++p) codes[p] = panel_load(panels[p].codes[at / 4][0]);
        for (std::size_t r = 0; r < kRows; ++r) {
          for (std::size_t p = 0; p < kPanels; ++p) {
            dots[p][r] = dot_4<kWide>(dots[p][r], codes[p], x[r].codes + at);
          }
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes scale = lanes_set(x[r].scales[group]);
      for (std::size_t p = 0; p < kPanels; ++p) {
        sums[p][r] = lanes_fma(lanes_load(panels[p].scales[group]) * scale, to_lanes(dots[p][r]),
                               sums[p][r]);
        if (kMin) {
          sums[p][r] = lanes_fma(lanes_load(panels[p].mins[group]) * scale,
                                 lanes_set(x[r].sums[group]), sums[p][r]);
        }
      }
    }
  }
  for (std::size_t p = 0; p < kPanels; ++p) {
    for (std::size_t r = 0; r < kRows; ++r) {
      float* const total = totals[p][row + r];
      lanes_store(total, lanes_load(total) + sums[p][r]);
    }
  }
}

template <std::size_t kGroup, bool kMin, bool kWide, std::size_t kPanels>
void add_many(const Panel* panels, const ActivationSegment* x, std::size_t n_rows,
              std::size_t groups, StripTotals* totals) {
  std::size_t r = 0;
  for (; r + kRegisterRows <= n_rows; r += kRegisterRows) {
    multiply_panels<kGroup, kMin, kWide, kPanels, kRegisterRows>(panels, x + r, groups, totals, r);
  }
  for (; r < n_rows; ++r) {
    multiply_panels<kGroup, kMin, kWide, kPanels, 1>(panels, x + r, groups, totals, r);
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

std::size_t at_most(std::size_t n, std::size_t limit) { return n < limit ? n : limit; }

template <std::size_t kGroup, bool kMin, bool kWide>
void multiply_few(const DotTile& tile, const SegmentFormat& format, std::size_t strips,
                  Scratch& scratch) {
  auto* const terms = reinterpret_cast<Terms<kGroup>*>(scratch.terms);
  const std::size_t n_rows = tile.n_rows;
  if (n_rows == 0) return;
  const std::size_t segment_bytes = tile.format->bytes(kSegment);
  const std::size_t run = at_most(kTerms / n_rows, kRunSegments) * kSegment;
  for (std::size_t begin = 0; begin < tile.columns; begin += run) {
    const std::size_t columns = at_most(tile.columns - begin, run);
    const auto elements_of = [&](std::size_t from) { return at_most(columns - from, kSegment); };
    for (std::size_t from = 0; from < columns; from += kSegment) {
      prepare<kGroup>(tile, begin + from, elements_of(from), format.offset,
                      scratch.activations + from / kSegment * n_rows);
    }
    for (std::size_t strip = 0; strip < strips; ++strip) {
      const std::size_t rows = at_most(tile.weight_rows - strip * kStripRows, kStripRows);
      for (std::size_t row = 0; row < rows; ++row) {
        const std::byte* blocks =
            tile.weight + (strip * kStripRows + row) * tile.row_bytes + tile.format->bytes(begin);
        for (std::size_t from = 0; from < columns; from += kSegment) {
          const std::size_t elements = elements_of(from);
          const std::size_t bytes =
              elements == kSegment ? segment_bytes : tile.format->bytes(elements);
          const std::size_t at = from / kSegment * n_rows;
          prefetch(blocks + kPrefetchAhead, bytes);
          multiply_row<kGroup, kMin, kWide>(*tile.format, format, blocks, elements,
                                            scratch.activations + at, n_rows, row, terms + at);
          blocks += bytes;
        }
      }
      for (std::size_t from = 0; from < columns; from += kSegment) {
        for (std::size_t r = 0; r < n_rows; ++r) {
          const std::size_t at = from / kSegment * n_rows + r;
          add_terms<kGroup, kMin>(terms[at], scratch.activations[at], elements_of(from) / kGroup,
                                  scratch.totals[strip][r]);
        }
      }
    }
  }
}

#if SLUICE_ISA_LEVEL > 0

/// total = total + the sum of the terms, a lane for each weight row.
template <bool kMin>
void add_strip(const StripTerms& terms, bool halves, const ActivationSegment& x, std::size_t groups,
               float* total) {
  Lanes sum = lanes_zero();
  for (std::size_t first = 0; first < groups; first += 8) {
    Lanes scales[8], mins[8];
    Ints dots[4];
    if (halves) {
      turn_halves(terms.half_scales[first / 8], scales);
      if (kMin) turn_halves(terms.half_mins[first / 8], mins);
    } else {
      for (std::size_t i = 0; i < 8; i += 4) {
        transpose_4(terms.scales[0] + first + i, StripTerms::kGroups, scales + i);
        if (kMin) transpose_4(terms.mins[0] + first + i, StripTerms::kGroups, mins + i);
      }
    }
    for (std::size_t i = 0; i < 8; ++i) {
      if (i % 4 == 0) turn_dots(terms.dots, first + i, dots);
      const Lanes scale = lanes_set(x.scales[first + i]);
      const Ints dot = dots[i % 4] + ints_set(x.corrections[first + i]);
      sum = lanes_fma(scales[i] * scale, to_lanes(dot), sum);
      if (kMin) sum = lanes_fma(mins[i] * scale, lanes_set(x.sums[first + i]), sum);
    }
  }
  lanes_store(total, lanes_load(total) + sum);
}

/// One activation row, whose columns are a multiple of half a segment.
template <bool kMin>
void multiply_one(const DotTile& tile, const SegmentFormat& format, std::size_t strips,
                  Scratch& scratch) {
  auto* const terms = reinterpret_cast<StripTerms*>(scratch.terms);
  StripRun run;
  run.row_bytes = tile.row_bytes;
  run.segment_bytes = tile.format->bytes(kSegment);
  run.x = scratch.activations[0].codes;
  run.x_stride = sizeof(ActivationSegment);
  for (std::size_t begin = 0; begin < tile.columns; begin += run.elements) {
    run.elements = at_most(tile.columns - begin, kRunSegments * kSegment);
    for (std::size_t from = 0; from < run.elements; from += kSegment) {
      prepare<32>(tile, begin + from, at_most(run.elements - from, kSegment), format.offset,
                  scratch.activations + from / kSegment);
    }
    for (std::size_t strip = 0; strip < strips; ++strip) {
      const std::size_t first_row = strip * kStripRows;
      run.blocks = tile.weight + first_row * tile.row_bytes + tile.format->bytes(begin);
      run.rows = at_most(tile.weight_rows - first_row, kStripRows);
      format.dot(run, terms);
      for (std::size_t from = 0; from < run.elements; from += kSegment) {
        add_strip<kMin>(terms[from / kSegment], format.halves, scratch.activations[from / kSegment],
                        at_most(run.elements - from, kSegment) / 32, scratch.totals[strip][0]);
      }
    }
  }
}

#endif

static_assert(kRegisterStrips <= 2);  // so that one strip is left over at most

template <std::size_t kGroup, bool kMin, bool kWide>
void multiply_many(const DotTile& tile, const SegmentFormat& format, std::size_t strips,
                   Scratch& scratch) {
  for (std::size_t begin = 0; begin < tile.columns; begin += kSegment) {
    const std::size_t elements = at_most(tile.columns - begin, kSegment);
    const std::size_t groups = elements / kGroup;
    const std::byte* row = tile.weight + tile.format->bytes(begin);
    prepare<kGroup>(tile, begin, elements, format.offset, scratch.activations);
    for (std::size_t strip = 0; strip < strips; ++strip) {
      const std::size_t rows = at_most(tile.weight_rows - strip * kStripRows, kStripRows);
      for (std::size_t i = 0; i < rows; ++i) {
        prefetch(row + kStripRows * tile.row_bytes, tile.format->bytes(elements));
        format.unpack(*tile.format, row, elements, scratch.strip.codes[i], scratch.strip.scales[i],
                      scratch.strip.mins[i]);
        row += tile.row_bytes;
      }
      const std::size_t panel = strip % kRegisterStrips;
      turn<kMin>(scratch.strip, elements, groups, scratch.panels[panel]);
      if (panel + 1 == kRegisterStrips) {
        add_many<kGroup, kMin, kWide, kRegisterStrips>(scratch.panels, scratch.activations,
                                                       tile.n_rows, groups,
                                                       scratch.totals + strip - panel);
      } else if (strip + 1 == strips) {
        add_many<kGroup, kMin, kWide, 1>(scratch.panels, scratch.activations, tile.n_rows, groups,
                                         scratch.totals + strip);
      }
    }
  }
}

template <std::size_t kGroup, bool kMin, bool kWide>
void multiply(const DotTile& tile, const SegmentFormat& format, Scratch& scratch) {
  const std::size_t strips = (tile.weight_rows + kStripRows - 1) / kStripRows;
  for (std::size_t strip = 0; strip < strips; ++strip) {
    std::memset(scratch.totals[strip], 0, tile.n_rows * sizeof(scratch.totals[strip][0]));
  }
  if (tile.n_rows <= kFewRows) {
#if SLUICE_ISA_LEVEL > 0
    if constexpr (kGroup == 32) {
      if (tile.n_rows == 1 && format.dot != nullptr && tile.columns % (kSegment / 2) == 0) {
        multiply_one<kMin>(tile, format, strips, scratch);
        return write_output(tile, scratch.totals);
      }
    }
#endif
    multiply_few<kGroup, kMin, kWide>(tile, format, strips, scratch);
  } else {
    multiply_many<kGroup, kMin, kWide>(tile, format, strips, scratch);
  }
  write_output(tile, scratch.totals);
}

}  // namespace

void quantised_dot(const DotTile& tile, std::byte* scratch) {
  const SegmentFormat format = segment_format(*tile.format);
  Scratch& working = *reinterpret_cast<Scratch*>(scratch);
  // Which instructions multiply, chosen by what the format's row in the table says.
  if (tile.format->group == 32) {
    if (tile.format->has_min) return multiply<32, true, false>(tile, format, working);
#if SLUICE_ISA_LEVEL == 1 || SLUICE_ISA_LEVEL == 2
    if (format.wide) return multiply<32, false, true>(tile, format, working);
#endif
    return multiply<32, false, false>(tile, format, working);
  }
  if (tile.format->has_min) return multiply<16, true, false>(tile, format, working);
  return multiply<16, false, false>(tile, format, working);
}

}  // namespace sluice::SLUICE_ISA

// A lane is a weight row: canonical.h's rule 2 for sixteen rows at once. Whatever the format, a
// group's codes come as words of four columns, each word meets the same four activation codes in
// all lanes, and the group's integer is ready without adding across lanes.

#include "cpu/strip_kernels.h"

#include <cstring>

#include "base/strip_layout.h"
#include "cpu/codebook_strips.h"
#include "cpu/dot_kernels.h"
#include "cpu/nested_strips.h"
#include "cpu/strip_blocks.h"
#include "cpu/unroll.h"

namespace sluice::SLUICE_ISA {
namespace {

/// use(group, block, Index<group in its block>) for the groups of `elements` columns.
template <typename Block, typename Use>
inline void for_each_group(StripPlace& strip, std::size_t elements, const Use& use) {
  for (std::size_t group = 0; group < elements / Block::kGroup; group += Block::kGroups) {
    const Block block(strip);
    unroll<Block::kGroups>([&](auto in_block) { use(group + in_block.kValue, block, in_block); });
    Block::advance(strip, 1);
  }
}

/// The codes of one group of a block of ordinary formats, as NestedStrip::Group has those of
/// planes.
template <typename Block, std::size_t G>
struct GroupOfBlock {
  template <std::size_t W>
  Words codes() const {
    return block.template codes<G, W>();
  }
  const Block& block;
};
template <std::size_t G, typename Block>
inline auto group_of(const Block& block) {
  if constexpr (requires { block.template group<G>(); }) {
    return block.template group<G>();
  } else {
    return GroupOfBlock<Block, G>{block};
  }
}

/// sum += the terms of a group under one activation row; rule 2's w * a for the scale and the
/// minimum.
template <std::size_t kGroup, bool kMin>
inline Lanes add_terms(Lanes sum, Lanes weight_scale, Lanes weight_min, Ints dot,
                       const ActivationSegment& x, std::size_t group) {
  const Lanes scale = lanes_set(x.scales[group * kGroup / kActivationGroup]);
  sum = lanes_fma(weight_scale * scale, to_lanes(dot), sum);
  if (kMin) sum = lanes_fma(weight_min * scale, lanes_set(x.sums[group]), sum);
  return sum;
}

template <typename Block>
inline Ints first_dot(const ActivationSegment& x, std::size_t group) {
  return ints_set(Block::kOffset == 0 || Block::kRowTerms ? 0 : x.corrections[group]);
}

/// Planes: what rows' offsets add to the dot of their bytes.
template <typename Block>
inline Ints with_row_terms(Ints dot, Ints row_terms, const ActivationSegment& x,
                           std::size_t group) {
  return add_products(Block::kFactor == 2 ? dot + dot : dot, row_terms, x.corrections[group]);
}

template <typename Block, std::size_t G>
inline Lanes min_of(const Block& block) {
  if constexpr (Block::kMin) return block.template min<G>();
  return lanes_zero();
}

/// The codes of a group are multiplied as they are unpacked.
template <typename Block, std::size_t kRows>
void multiply_rows(StripPlace strip, std::size_t elements, const ActivationSegment* x,
                   std::size_t stride, float (*totals)[16]) {
  Lanes total[kRows];
  for (std::size_t r = 0; r < kRows; ++r) total[r] = lanes_load(totals[r]);
  for (std::size_t from = 0; from < elements; from += kSegment) {
    const std::size_t columns = elements - from < kSegment ? elements - from : kSegment;
    Lanes sums[kRows];
    for (Lanes& sum : sums) sum = lanes_zero();
    for_each_group<Block>(strip, columns, [&](std::size_t group, const Block& block, auto index) {
      constexpr std::size_t kIndex = decltype(index)::kValue;
      Ints dots[kRows];
      for (std::size_t r = 0; r < kRows; ++r) dots[r] = first_dot<Block>(x[r], group);
      const auto codes_of_group = group_of<kIndex>(block);
      unroll<Block::kGroup / 4>([&](auto word) {
        constexpr std::size_t kWord = decltype(word)::kValue;
        const Words codes = codes_of_group.template codes<kWord>();
        for (std::size_t r = 0; r < kRows; ++r) {
          dots[r] =
              dot_4<Block::kWide>(dots[r], codes, x[r].codes + group * Block::kGroup + 4 * kWord);
        }
      });
      if constexpr (Block::kRowTerms) {
        const Ints terms = block.row_terms();
        for (std::size_t r = 0; r < kRows; ++r) {
          dots[r] = with_row_terms<Block>(dots[r], terms, x[r], group);
        }
      }
      const Lanes scale = block.template scale<kIndex>();
      const Lanes min = min_of<Block, kIndex>(block);
      for (std::size_t r = 0; r < kRows; ++r) {
        sums[r] = add_terms<Block::kGroup, Block::kMin>(sums[r], scale, min, dots[r], x[r], group);
      }
    });
    for (std::size_t r = 0; r < kRows; ++r) total[r] = total[r] + sums[r];
    x += stride;
  }
  for (std::size_t r = 0; r < kRows; ++r) lanes_store(totals[r], total[r]);
}

template <typename Block, std::size_t kRows = Block::kFewRowsOfBlock>
void multiply(const StripPlace& strip, std::size_t elements, const ActivationSegment* x,
              std::size_t n_rows, float (*totals)[16]) {
  if constexpr (kRows > 1) {
    if (n_rows < kRows) return multiply<Block, kRows / 2>(strip, elements, x, n_rows, totals);
  }
  std::size_t r = 0;
  for (; r + kRows <= n_rows; r += kRows) {
    multiply_rows<Block, kRows>(strip, elements, x + r, n_rows, totals + r);
  }
  // What is left takes its turn alone.
  for (; r < n_rows; ++r) multiply_rows<Block, 1>(strip, elements, x + r, n_rows, totals + r);
}

template <typename Block>
void unpack(const StripPlace& strip, std::size_t elements, Panel& panel) {
  StripPlace at = strip;
  for_each_group<Block>(at, elements, [&](std::size_t group, const Block& block, auto index) {
    constexpr std::size_t kIndex = decltype(index)::kValue;
    const auto codes_of_group = group_of<kIndex>(block);
    unroll<Block::kGroup / 4>([&](auto word) {
      constexpr std::size_t kWord = decltype(word)::kValue;
      words_store(panel.codes[group * (Block::kGroup / 4) + kWord],
                  codes_of_group.template codes<kWord>());
    });
    lanes_store(panel.scales[group], block.template scale<kIndex>());
    if (Block::kMin) lanes_store(panel.mins[group], min_of<Block, kIndex>(block));
    if constexpr (Block::kRowTerms) ints_store(panel.row_terms[group], block.row_terms());
  });
}

/// A register tile: kPanels strips of weight rows and kRows activation rows.
template <typename Block, std::size_t kPanels, std::size_t kRows>
void multiply_tile(const Panel* panels, std::size_t elements, const ActivationSegment* x,
                   float (*const* totals)[16], std::size_t row) {
  constexpr std::size_t kGroup = Block::kGroup;
  Lanes sums[kPanels][kRows];
  for (std::size_t p = 0; p < kPanels; ++p) {
    for (std::size_t r = 0; r < kRows; ++r) sums[p][r] = lanes_zero();
  }
  for (std::size_t group = 0; group < elements / kGroup; ++group) {
    Ints dots[kPanels][kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t p = 0; p < kPanels; ++p) dots[p][r] = first_dot<Block>(x[r], group);
    }
    for (std::size_t word = 0; word < kGroup / 4; ++word) {
      const std::size_t at = group * kGroup + 4 * word;
      Words codes[kPanels];
      for (std::size_t p = 0; p < kPanels; ++p) codes[p] = words_load(panels[p].codes[at / 4]);
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t p = 0; p < kPanels; ++p) {
          dots[p][r] = dot_4<Block::kWide>(dots[p][r], codes[p], x[r].codes + at);
        }
      }
    }
    for (std::size_t p = 0; Block::kRowTerms && p < kPanels; ++p) {
      const Ints terms = ints_load(panels[p].row_terms[group]);
      for (std::size_t r = 0; r < kRows; ++r) {
        dots[p][r] = with_row_terms<Block>(dots[p][r], terms, x[r], group);
      }
    }
    for (std::size_t p = 0; p < kPanels; ++p) {
      const Lanes scale = lanes_load(panels[p].scales[group]);
      const Lanes min = Block::kMin ? lanes_load(panels[p].mins[group]) : lanes_zero();
      for (std::size_t r = 0; r < kRows; ++r) {
        sums[p][r] =
            add_terms<kGroup, Block::kMin>(sums[p][r], scale, min, dots[p][r], x[r], group);
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

template <typename Block, std::size_t kPanels>
void multiply_rows_of_tiles(const Panel* panels, std::size_t elements, const ActivationSegment* x,
                            std::size_t n_rows, float (*const* totals)[16]) {
  std::size_t r = 0;
  for (; r + kRegisterRows <= n_rows; r += kRegisterRows) {
    multiply_tile<Block, kPanels, kRegisterRows>(panels, elements, x + r, totals, r);
  }
  for (; r < n_rows; ++r) {
    multiply_tile<Block, kPanels, 1>(panels, elements, x + r, totals, r);
  }
}

/// What multiplying panels depends on: formats alike in these share the code.
template <std::size_t kGroupSize, int kOffsetOfCodes, bool kHasMin, bool kWideCodes,
          int kFactorOfPlanes>
struct PanelKind {
  static constexpr std::size_t kGroup = kGroupSize;
  static constexpr int kOffset = kOffsetOfCodes;
  static constexpr bool kMin = kHasMin;
  static constexpr bool kWide = kWideCodes;
  static constexpr bool kRowTerms = kFactorOfPlanes != 0;
  static constexpr int kFactor = kFactorOfPlanes;
};

template <typename Kind>
void multiply_panels(const Panel* panels, std::size_t n_panels, std::size_t elements,
                     const ActivationSegment* x, std::size_t n_rows, float (*const* totals)[16]) {
  if (n_panels == kRegisterStrips) {
    multiply_rows_of_tiles<Kind, kRegisterStrips>(panels, elements, x, n_rows, totals);
  } else {
    multiply_rows_of_tiles<Kind, 1>(panels, elements, x, n_rows, totals);
  }
}
static_assert(kRegisterStrips <= 2);  // so that one strip is left over at most

/// Four words of sixteen rows at a time; the last four may overlap those before.
void turn_words(const std::byte* rows, std::size_t row_bytes, std::size_t words, std::byte* strip) {
  for (std::size_t word = 0; word < words; word += 4) {
    const std::size_t first = word + 4 <= words ? word : words - 4;
    Words columns[4];
    transpose_4(rows + 4 * first, row_bytes, columns);
    for (std::size_t j = 0; j < 4; ++j) words_store(strip + 64 * (first + j), columns[j]);
  }
}

/// `count` parts of kBytes, one by one.
template <std::size_t kBytes>
void turn_parts(const std::byte* rows, std::size_t row_bytes, std::size_t n_rows, std::size_t count,
                std::byte* strip) {
  for (std::size_t row = 0; row < kStripRows; ++row) {
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(strip + (i * kStripRows + row) * kBytes, rows + i * kBytes, kBytes);
    }
    if (row + 1 < n_rows) rows += row_bytes;
  }
}

template <typename Block>
constexpr StripFormat kStripFormat = {
    multiply<Block>,
    unpack<Block>,
    multiply_panels<PanelKind<Block::kGroup, (Block::kOffset != 0), Block::kMin, Block::kWide,
                              Block::kRowTerms ? Block::kFactor : 0>>,
    Block::kOffset,
    Block::kRowTerms ? 1 : -Block::kOffset,
    Block::kRowTerms ? Block::kFactor : 0,
    Block::kFewRowsOfBlock};

constexpr StripFormat kNone = {};

}  // namespace

const StripFormat& strip_format(const TensorFormat& format) {
  switch (format.type) {
    case TensorType::kQ4_0:
      return kStripFormat<Q4_0Strip>;
    case TensorType::kQ4_1:
      return kStripFormat<Q4_1Strip>;
    case TensorType::kQ5_0:
      return kStripFormat<Q5_0Strip>;
    case TensorType::kQ5_1:
      return kStripFormat<Q5_1Strip>;
    case TensorType::kQ8_0:
      return kStripFormat<Q8_0Strip>;
    case TensorType::kQ2_K:
      return kStripFormat<Q2_KStrip>;
    case TensorType::kQ3_K:
      return kStripFormat<Q3_KStrip>;
    case TensorType::kQ4_K:
      return kStripFormat<Q4_KStrip>;
    case TensorType::kQ5_K:
      return kStripFormat<Q5_KStrip>;
    case TensorType::kQ6_K:
      return kStripFormat<Q6_KStrip>;
    case TensorType::kIQ4_NL:
      return kStripFormat<IQ4_NLStrip>;
    case TensorType::kIQ4_XS:
      return kStripFormat<IQ4_XSStrip>;
    case TensorType::kMXFP4:
      return kStripFormat<MXFP4Strip>;
    case TensorType::kIQ2_XXS:
      return kStripFormat<IQ2_XXSStrip>;
    case TensorType::kIQ2_XS:
      return kStripFormat<IQ2_XSStrip>;
    case TensorType::kIQ2_S:
      return kStripFormat<IQ2_SStrip>;
    case TensorType::kIQ3_XXS:
      return kStripFormat<IQ3_XXSStrip>;
    case TensorType::kIQ3_S:
      return kStripFormat<IQ3_SStrip>;
    case TensorType::kIQ1_S:
      return kStripFormat<IQ1_SStrip>;
    case TensorType::kIQ1_M:
      return kStripFormat<IQ1_MStrip>;
    case TensorType::kTQ1_0:
      return kStripFormat<TQ1_0Strip>;
    case TensorType::kTQ2_0:
      return kStripFormat<TQ2_0Strip>;
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
    case TensorType::kF8_E4M3:
    case TensorType::kNested:
    case TensorType::kF64:
    case TensorType::kI8:
    case TensorType::kI16:
    case TensorType::kI32:
    case TensorType::kI64:
      break;
  }
  return kNone;
}

namespace {

template <typename Form>
const StripFormat& strip_format_of(unsigned width) {
  if constexpr (Form::kBits > 4) {
    if (width == 5) return kStripFormat<NestedStrip<Form, 5>>;
    if (width == 6) return kStripFormat<NestedStrip<Form, 6>>;
  }
  if constexpr (Form::kBits == 8) {
    if (width == 8) return kStripFormat<NestedStrip<Form, 8>>;
  }
  if (width == 2) return kStripFormat<NestedStrip<Form, 2>>;
  if (width == 3) return kStripFormat<NestedStrip<Form, 3>>;
  return kStripFormat<NestedStrip<Form, 4>>;
}

}  // namespace

const StripFormat& strip_format(const NestedView& nested) {
  switch (nested.form->source) {
    case TensorType::kQ8_0:
      return strip_format_of<Q8_0Form>(nested.width);
    case TensorType::kQ4_0:
      return strip_format_of<Q4_0Form>(nested.width);
    case TensorType::kMXFP4:
      return strip_format_of<MXFP4Form>(nested.width);
    case TensorType::kQ4_K:
      return strip_format_of<Q4_KForm>(nested.width);
    case TensorType::kQ6_K:
      return strip_format_of<Q6_KForm>(nested.width);
    default:
      return strip_format_of<FittedForm>(nested.width);
  }
}

void to_strip(const TensorFormat& format, const std::byte* rows, std::size_t row_bytes,
              std::size_t n_rows, std::size_t n_blocks, std::byte* strip) {
  const StripBlock parts(format);
  const bool whole = n_rows == kStripRows;
  std::size_t asked_for = 0;
  for (std::size_t i = 0; i < n_blocks; ++i) {
    const std::byte* const block = rows + i * format.block_bytes;
    // Sixteen places at once are more than hardware prefetchers follow: so ask for the next
    // strip's.
    for (; whole && asked_for < (i + 1) * format.block_bytes; asked_for += 64) {
      for (std::size_t row = kStripRows; row < 2 * kStripRows; ++row) {
        prefetch(rows + row * row_bytes + asked_for, 1);
      }
    }
    std::byte* const rest = strip + 64 * parts.words;
    if (whole) {
      turn_words(block + parts.first_word, row_bytes, parts.words, strip);
    } else {
      turn_parts<4>(block + parts.first_word, row_bytes, n_rows, parts.words, strip);
    }
    if (parts.rest_bytes == 2 && whole) {
      gather_halves(block + parts.rest, row_bytes, rest);
    } else if (parts.rest_bytes == 2) {
      turn_parts<2>(block + parts.rest, row_bytes, n_rows, 1, rest);
    } else if (parts.rest_bytes == 1) {
      turn_parts<1>(block + parts.rest, row_bytes, n_rows, 1, rest);
    }
    strip += kStripRows * format.block_bytes;
  }
}

}  // namespace sluice::SLUICE_ISA

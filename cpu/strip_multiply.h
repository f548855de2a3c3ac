#pragma once
// A lane is a weight row: canonical.h's rule 2 for sixteen rows at once. Whatever the format, a
// group's codes come as words of four columns, each word meets the same four activation codes in
// all lanes, and the group's integer is ready without adding across lanes.
//
// kStripFormat<Block> has the functions of a format, whose blocks are a type (strip_blocks.h).
// Compilers take long over them: so formats are spread over several *strip_kernels.cc.

#include <cstddef>

#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"
#include "cpu/strip_kernels.h"
#include "cpu/unroll.h"

namespace sluice::SLUICE_ISA {
namespace {

/// use(group, block, Index<group in its block>) for the groups of `elements` columns.
template <typename Block, typename Use>
inline void for_each_group(StripPlace& strip, std::size_t elements, const Use& use) {
  const std::size_t groups = elements / Block::kGroup;
  constexpr std::size_t kTogether = Block::kGroups * Block::kAskedTogether;
  for (std::size_t group = 0; group < groups;) {
    if constexpr (kTogether > 0) Block::ask_ahead(strip);
    const std::size_t end = kTogether > 0 ? at_most(groups, group + kTogether) : groups;
    for (; group < end; group += Block::kGroups) {
      const Block block(strip);
      unroll<Block::kGroups>([&](auto in_block) { use(group + in_block.kValue, block, in_block); });
      Block::advance(strip, 1);
    }
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

}  // namespace
}  // namespace sluice::SLUICE_ISA

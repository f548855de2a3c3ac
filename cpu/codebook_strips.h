#pragma once
// What strip_blocks.h has, for the formats with codebooks (base/codebook_blocks.h).
//
// A block first has the entries of all its rows looked up and put side by side; signs and scales
// are then taken for all rows at once, as in any format.

#include <cstddef>
#include <cstdint>

#include "base/codebook_blocks.h"
#include "base/codebooks.h"
#include "cpu/codebook_entries.h"
#include "cpu/strip_blocks.h"
#include "cpu/unroll.h"

namespace sluice::SLUICE_ISA {
namespace {

/// kBits bits of each row from bit kFrom on, moved to bit kTo.
template <int kFrom, int kBits, int kTo>
inline Words field(Words a) {
  const Words mask = words_set(((1u << kBits) - 1) << kTo);
  if constexpr (kFrom < kTo) return shift_left<kTo - kFrom>(a) & mask;
  if constexpr (kFrom > kTo) return shift_right<kFrom - kTo>(a) & mask;
  return a & mask;
}

/// 2 * field + 1: what these formats multiply a block's scale by.
template <int kFrom, int kBits>
inline Lanes odd_number(Words a) {
  return to_lanes(unsigned_byte<0>(field<kFrom, kBits, 1>(a) | words_set(1)));
}

/// Bytes of seven bits → their number of ones made even by the eighth.
inline Words with_eighth_signs(Words sevens) {
  Words ones = sevens ^ shift_right<4>(sevens);
  ones = ones ^ shift_right<2>(ones);
  ones = ones ^ shift_right<1>(ones);
  return sevens | shift_left<7>(ones & words_set(0x01010101));
}
/// Four times seven bits from bit 0 on.
inline Words signs_of_28_bits(Words a) {
  return with_eighth_signs(field<0, 7, 0>(a) | field<7, 7, 8>(a) | field<14, 7, 16>(a) |
                           field<21, 7, 24>(a));
}

/// 16-bit indices for a block, to be made by vector code and read one by one.
template <typename Block, typename Entry>
struct BlockIndices {
  static constexpr std::size_t kWords = Block::kElements / sizeof(Entry) / 2;
  alignas(64) std::byte bytes[64 * kWords];

  /// Of four runs: their low bits are the bytes of `low`; kBits more of each are in `high`, from
  /// bit kFrom on, kStride apart.
  template <int kFrom, int kBits, int kStride>
  void store(std::size_t run, Words low, Words high) {
    words_store(bytes + 32 * run, field<0, 8, 0>(low) | field<8, 8, 16>(low) |
                                      field<kFrom, kBits, 8>(high) |
                                      field<kFrom + kStride, kBits, 24>(high));
    words_store(bytes + 32 * run + 64, field<16, 8, 0>(low) | field<24, 8, 16>(low) |
                                           field<kFrom + 2 * kStride, kBits, 8>(high) |
                                           field<kFrom + 3 * kStride, kBits, 24>(high));
  }
};

/// A block whose entries are chosen when it is built.
template <typename Block, typename Entry>
class CodebookBlock : public StripBlockOf<Block> {
 protected:
  using StripBlockOf<Block>::StripBlockOf;
  using Indices = BlockIndices<Block, Entry>;

  /// Sets the entries of runs from `run` on, whose indices are `words` words of each row.
  template <typename Index, std::size_t kEntries>
  void choose(const Codebook<Entry, kEntries>& book, const std::byte* indices, std::size_t words,
              std::size_t run = 0) {
    choose_entries<Entry, Index>(book.entries, indices, words, chosen_ + run);
  }

  /// Of word `word` of group `group`.
  static constexpr std::size_t first_column(std::size_t group, std::size_t word) {
    return group * Block::kGroup + 4 * word;
  }

  /// What was chosen for columns kAt … kAt + 3.
  template <std::size_t kAt>
  Words chosen() const {
    if constexpr (sizeof(Entry) == 4) return words_load(chosen_[kAt / 4]);
    return words_load_of_pairs<kAt / 4 % 2>(chosen_[kAt / 8]);
  }
  /// The same as magnitudes with these signs, a bit for each of 32 columns.
  template <std::size_t kAt>
  Words chosen_with(Words signs) const {
    return with_signs<kOffset, kAt % 32>(chosen<kAt>(), signs);
  }

 public:
  /// All magnitudes are below it.
  static constexpr int kOffset = 63;
  /// Next to looking up, going through a panel costs little; it saves much code.
  static constexpr std::size_t kFewRowsOfBlock = 1;

 private:
  alignas(64) Entry chosen_[Block::kElements / sizeof(Entry)][16];
};

struct IQ2_XXSStrip : CodebookBlock<IQ2_XXSBlock, std::uint64_t> {
  explicit IQ2_XXSStrip(const StripPlace& place) : CodebookBlock(place) {
    for (std::size_t group = 0; group < 8; ++group) {
      choose<std::uint8_t>(kIq2XxsCodebook, place.block + 64 * (2 * group), 1, 4 * group);
    }
    for (std::size_t group = 0; group < 8; ++group) {
      signs_[group] = signs_of_28_bits(word(2 * group + 1));
    }
    scale_ = lanes_load_half(rest()) * lanes_set(0.125f);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return chosen_with<first_column(G, W)>(signs_[G]);
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<28, 4>(word(2 * G + 1));
  }

 private:
  Words signs_[8];
  Lanes scale_;
};

struct IQ2_XSStrip : CodebookBlock<IQ2_XSBlock, std::uint64_t> {
  explicit IQ2_XSStrip(const StripPlace& place) : CodebookBlock(place) {
    Indices indices;
    for (std::size_t four = 0; four < 8; ++four) {  // runs
      const Words first = word(2 * four), second = word(2 * four + 1);
      words_store(indices.bytes + 128 * four, first & words_set(0x01ff01ff));
      words_store(indices.bytes + 128 * four + 64, second & words_set(0x01ff01ff));
      signs_[four] = with_eighth_signs(field<9, 7, 0>(first) | field<25, 7, 8>(first) |
                                       field<9, 7, 16>(second) | field<25, 7, 24>(second));
    }
    choose<std::uint16_t>(kIq2XsCodebook, indices.bytes, Indices::kWords);
    scale_ = lanes_load_half(rest()) * lanes_set(0.125f);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return chosen_with<first_column(G, W)>(signs_[G / 2]);
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<4 * (G % 8), 4>(word(16 + G / 8));
  }

 private:
  Words signs_[8];
  Lanes scale_;
};

struct IQ2_SStrip : CodebookBlock<IQ2_SBlock, std::uint64_t> {
  explicit IQ2_SStrip(const StripPlace& place) : CodebookBlock(place) {
    Indices indices;
    unroll<8>([&](auto index) {
      constexpr std::size_t k = decltype(index)::kValue;
      indices.store<8 * (k % 4), 2, 2>(4 * k, word(k), word(16 + k / 4));
    });
    choose<std::uint16_t>(kIq2SCodebook, indices.bytes, Indices::kWords);
    scale_ = lanes_load_half(rest()) * lanes_set(0.125f);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return chosen_with<first_column(G, W)>(word(8 + G / 2));
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<4 * (G % 8), 4>(word(18 + G / 8));
  }

 private:
  Lanes scale_;
};

struct IQ3_XXSStrip : CodebookBlock<IQ3_XXSBlock, std::uint32_t> {
  explicit IQ3_XXSStrip(const StripPlace& place) : CodebookBlock(place) {
    choose<std::uint8_t>(kIq3XxsCodebook, place.block, 16);
    for (std::size_t group = 0; group < 8; ++group) {
      signs_[group] = signs_of_28_bits(word(16 + group));
    }
    scale_ = lanes_load_half(rest()) * lanes_set(0.25f);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return chosen_with<first_column(G, W)>(signs_[G]);
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<28, 4>(word(16 + G));
  }

 private:
  Words signs_[8];
  Lanes scale_;
};

struct IQ3_SStrip : CodebookBlock<IQ3_SBlock, std::uint32_t> {
  explicit IQ3_SStrip(const StripPlace& place) : CodebookBlock(place) {
    Indices indices;
    unroll<16>([&](auto index) {
      constexpr std::size_t k = decltype(index)::kValue;
      indices.store<4 * (k % 8), 1, 1>(4 * k, word(k), word(16 + k / 8));
    });
    choose<std::uint16_t>(kIq3SCodebook, indices.bytes, Indices::kWords);
    scale_ = lanes_load_half(rest());
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return chosen_with<first_column(G, W)>(word(18 + G));
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<4 * G, 4>(word(26));
  }

 private:
  Lanes scale_;
};

/// IQ1_S and IQ1_M: entries have the codes with kIq1Offset, each 2 modulo 8, so that those with two
/// less differ in one bit.
inline Words two_less(Words codes, Words bit_1) {
  const Words pair = bit_1 | shift_left<8>(bit_1);
  return codes ^ (pair | shift_left<16>(pair));
}

struct IQ1_SStrip : CodebookBlock<IQ1_SBlock, std::uint64_t> {
  static constexpr int kOffset = kIq1Offset;
  explicit IQ1_SStrip(const StripPlace& place) : CodebookBlock(place) {
    Indices indices;
    unroll<8>([&](auto index) {
      constexpr std::size_t k = decltype(index)::kValue;
      indices.store<16 * (k % 2), 3, 3>(4 * k, word(k), word(8 + k / 2));
    });
    choose<std::uint16_t>(kIq1Codebook, indices.bytes, Indices::kWords);
    scale_ = lanes_load_half(rest()) * lanes_set(0.125f);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return two_less(chosen<first_column(G, W)>(), field<15 + 16 * (G % 2), 1, 1>(word(8 + G / 2)));
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<12 + 16 * (G % 2), 3>(word(8 + G / 2));
  }

 private:
  Lanes scale_;
};

struct IQ1_MStrip : CodebookBlock<IQ1_MBlock, std::uint64_t> {
  static constexpr int kOffset = kIq1Offset;
  explicit IQ1_MStrip(const StripPlace& place) : CodebookBlock(place) {
    Indices indices;
    unroll<8>([&](auto index) {
      constexpr std::size_t k = decltype(index)::kValue;
      indices.store<16 * (k % 2), 3, 4>(4 * k, word(k), word(8 + k / 2));
    });
    choose<std::uint16_t>(kIq1Codebook, indices.bytes, Indices::kWords);
    const Words first = word(12), second = word(13);
    scale_ = low_halves(field<12, 4, 0>(first) | field<28, 4, 4>(first) | field<12, 4, 8>(second) |
                        field<28, 4, 12>(second)) *
             lanes_set(0.125f);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    constexpr std::size_t kRun = first_column(G, W) / 8;
    return two_less(chosen<first_column(G, W)>(),
                    field<4 * (kRun % 8) + 3, 1, 1>(word(8 + kRun / 8)));
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * odd_number<16 * (G / 4 % 2) + 3 * (G % 4), 3>(word(12 + G / 8));
  }

 private:
  Lanes scale_;
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

#pragma once
// What each format's block says (those with codebooks: codebook_strips.h) once sixteen rows of it
// lie side by side (base/strip_layout.h): one type a format, built on the block's place in a strip,
// that gives
//     codes<G, W>()  bytes `code + kOffset` of columns 4W … 4W + 3 of group G, of each row
//     scale<G>()     the group's scale, of each row, and where kMin is set
//     min<G>()       its minimum
// base/quant_blocks.h says which bits of a block are what; here a block's bytes 4w … 4w + 3 are
// word w, counted without the scale that blocks of odd size begin or end with (the *rest*).

#include <cstddef>
#include <cstdint>

#include "base/quant_blocks.h"
#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"
#include "cpu/strip_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

/// A strip's block: 16 rows × kBytes. Where groups read here and there in it, so that hardware
/// prefetchers lose their way, the one kAhead blocks on is asked for.
template <typename Block, std::size_t kAhead = 0>
class StripBlockOf {
 public:
  static constexpr std::size_t kGroup = Block::kGroup;
  static constexpr std::size_t kGroups = Block::kElements / Block::kGroup;
  static constexpr std::size_t kBytes = 16 * sizeof(Block);
  static constexpr bool kMin = Block::kHasMin;
  // What most formats are.
  static constexpr int kOffset = 0;
  static constexpr bool kWide = false, kRowTerms = false;
  static constexpr int kFactor = 1;
  static constexpr std::size_t kFewRowsOfBlock = kFewRows;

  /// Blocks that ask_ahead is called once for; 0: there is no need of it.
  static constexpr std::size_t kAskedTogether = kAhead > 0 ? 1 : 0;
  [[gnu::always_inline]] static void ask_ahead(const StripPlace& place) {
    prefetch(place.block + kAhead * kBytes, kBytes);
  }
  static void advance(StripPlace& place, std::size_t blocks) { place.block += blocks * kBytes; }

 protected:
  explicit StripBlockOf(const StripPlace& place) : block_(place.block) {}
  Words word(std::size_t i) const { return words_load(block_ + 64 * i); }
  const std::byte* rest() const { return block_ + 64 * (sizeof(Block) / 4); }

 private:
  const std::byte* block_;
};

inline Words low_nibbles(Words a) { return a & words_set(0x0f0f0f0f); }
inline Words high_nibbles(Words a) { return low_nibbles(shift_right<4>(a)); }
/// Nibble S of each byte, or bits 2S and 2S + 1.
template <int S>
inline Words nibbles(Words a) {
  return S == 0 ? low_nibbles(a) : high_nibbles(a);
}
template <int S>
inline Words pairs(Words a) {
  return shift_right<2 * S>(a) & words_set(0x03030303);
}

/// Blocks of 32 whose nibbles begin at word kFirst: a code's nibble.
template <typename Block, std::size_t kFirst>
class NibbleBlock : public StripBlockOf<Block> {
 protected:
  using StripBlockOf<Block>::StripBlockOf;
  template <std::size_t W>
  Words nibble() const {
    return nibbles<W / 4>(this->word(kFirst + W % 4));
  }
};

struct Q4_0Strip : NibbleBlock<Q4_0Block, 0> {
  static constexpr int kOffset = 8;
  explicit Q4_0Strip(const StripPlace& place) : NibbleBlock(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return nibble<W>();
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_half(rest());
  }
};

struct Q4_1Strip : NibbleBlock<Q4_1Block, 1> {
  explicit Q4_1Strip(const StripPlace& place) : NibbleBlock(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return nibble<W>();
  }
  template <std::size_t>
  Lanes scale() const {
    return low_halves(word(0));
  }
  template <std::size_t>
  Lanes min() const {
    return high_halves(word(0));
  }
};

struct Q5_0Strip : NibbleBlock<Q5_0Block, 1> {
  static constexpr int kOffset = 16;
  explicit Q5_0Strip(const StripPlace& place) : NibbleBlock(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return nibble<W>() | sixteens<4 * W>(word(0));
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_half(rest());
  }
};

struct Q5_1Strip : NibbleBlock<Q5_1Block, 2> {
  explicit Q5_1Strip(const StripPlace& place) : NibbleBlock(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return nibble<W>() | sixteens<4 * W>(word(1));
  }
  template <std::size_t>
  Lanes scale() const {
    return low_halves(word(0));
  }
  template <std::size_t>
  Lanes min() const {
    return high_halves(word(0));
  }
};

struct Q8_0Strip : StripBlockOf<Q8_0Block> {
  static constexpr int kOffset = kEightBitOffset;
  static constexpr bool kWide = kEightBitsAreWide;
  explicit Q8_0Strip(const StripPlace& place) : StripBlockOf(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return kOffset == 0 ? word(W) : word(W) ^ words_set(0x80808080);
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_half(rest());
  }
};

struct IQ4_NLStrip : NibbleBlock<IQ4_NLBlock, 0> {
  static constexpr int kOffset = kEightBitOffset;
  static constexpr bool kWide = kEightBitsAreWide;
  explicit IQ4_NLStrip(const StripPlace& place) : NibbleBlock(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return look_up(byte_table(kIq4Values, kOffset), nibble<W>());
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_half(rest());
  }
};

struct MXFP4Strip : NibbleBlock<MXFP4Block, 0> {
  static constexpr int kOffset = 12;
  explicit MXFP4Strip(const StripPlace& place) : NibbleBlock(place) {}
  template <std::size_t, std::size_t W>
  Words codes() const {
    return look_up(byte_table(kFp4TwiceValues, kOffset), nibble<W>());
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_powers(rest());
  }
};

/// Super-blocks whose small scales and mins are multiplied by those of the block; mins are
/// subtracted.
inline Lanes negative(Lanes a) { return a * lanes_set(-1.0f); }

/// Q4_K's and Q5_K's header: word 0 the block's scale and min, words 1 to 3 PackedScales.
template <typename Block, std::size_t kAhead = 0>
class PackedScalesBlock : public StripBlockOf<Block, kAhead> {
 public:
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * to_lanes(unsigned_byte<G % 4>(scales_[G / 4]));
  }
  template <std::size_t G>
  Lanes min() const {
    return minus_min_ * to_lanes(unsigned_byte<G % 4>(mins_[G / 4]));
  }

 protected:
  explicit PackedScalesBlock(const StripPlace& place) : StripBlockOf<Block, kAhead>(place) {
    scale_ = low_halves(this->word(0));
    minus_min_ = negative(high_halves(this->word(0)));
    const Words first = this->word(1), second = this->word(2), third = this->word(3);
    const Words six_bits = words_set(0x3f3f3f3f), upper_two = words_set(0x30303030);
    scales_[0] = first & six_bits;
    mins_[0] = second & six_bits;
    scales_[1] = low_nibbles(third) | (shift_right<2>(first) & upper_two);
    mins_[1] = high_nibbles(third) | (shift_right<2>(second) & upper_two);
  }

 private:
  Lanes scale_, minus_min_;
  Words scales_[2], mins_[2];
};

struct Q4_KStrip : PackedScalesBlock<Q4_KBlock> {
  explicit Q4_KStrip(const StripPlace& place) : PackedScalesBlock(place) {}
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return nibbles<G % 2>(word(4 + 8 * (G / 2) + W));
  }
};

struct Q5_KStrip : PackedScalesBlock<Q5_KBlock, 2> {
  explicit Q5_KStrip(const StripPlace& place) : PackedScalesBlock(place) {}
  template <std::size_t G, std::size_t W>
  Words codes() const {
    const Words fifth = shift_right<static_cast<int>(G)>(word(4 + W)) & words_set(0x01010101);
    return nibbles<G % 2>(word(12 + 8 * (G / 2) + W)) | shift_left<4>(fifth);
  }
};

struct Q2_KStrip : StripBlockOf<Q2_KBlock> {
  explicit Q2_KStrip(const StripPlace& place) : StripBlockOf(place) {
    scale_ = low_halves(word(20));
    minus_min_ = negative(high_halves(word(20)));
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {  // group G is half G / 8, pair G / 2 % 4, sixteen G % 2
    return pairs<G / 2 % 4>(word(4 + 8 * (G / 8) + 4 * (G % 2) + W));
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * to_lanes(unsigned_byte<G % 4>(low_nibbles(word(G / 4))));
  }
  template <std::size_t G>
  Lanes min() const {
    return minus_min_ * to_lanes(unsigned_byte<G % 4>(high_nibbles(word(G / 4))));
  }

 private:
  Lanes scale_, minus_min_;
};

struct Q3_KStrip : StripBlockOf<Q3_KBlock, 2> {
  static constexpr int kOffset = 4;
  explicit Q3_KStrip(const StripPlace& place) : StripBlockOf(place) {
    scale_ = lanes_load_half(rest());
    const Words upper = word(26), two = words_set(0x03030303);
    scales_[0] = low_nibbles(word(24)) | shift_left<4>(upper & two);
    scales_[1] = low_nibbles(word(25)) | shift_left<4>(shift_right<2>(upper) & two);
    scales_[2] = high_nibbles(word(24)) | shift_left<4>(shift_right<4>(upper) & two);
    scales_[3] = high_nibbles(word(25)) | shift_left<4>(shift_right<6>(upper) & two);
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    constexpr std::size_t kAt = 4 * (G % 2) + W;
    const Words high = shift_right<static_cast<int>(G / 2)>(word(kAt)) & words_set(0x01010101);
    return pairs<G / 2 % 4>(word(8 + 8 * (G / 8) + kAt)) | shift_left<2>(high);
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * to_lanes(unsigned_byte<G % 4>(scales_[G / 4]) + ints_set(-32));
  }

 private:
  Lanes scale_;
  Words scales_[4];
};

struct Q6_KStrip : StripBlockOf<Q6_KBlock, 2> {
  static constexpr int kOffset = 32;
  explicit Q6_KStrip(const StripPlace& place) : StripBlockOf(place) {
    scale_ = lanes_load_half(rest());
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    constexpr std::size_t kHalf = G / 8, kQuarter = G / 2 % 4, kAt = 4 * (G % 2) + W;
    const Words four = nibbles<kQuarter / 2>(word(16 * kHalf + 8 * (kQuarter % 2) + kAt));
    return four | shift_left<4>(pairs<kQuarter>(word(32 + 8 * kHalf + kAt)));
  }
  template <std::size_t G>
  Lanes scale() const {
    return scale_ * to_lanes(signed_byte<G % 4>(word(48 + G / 4)));
  }

 private:
  Lanes scale_;
};

struct IQ4_XSStrip : StripBlockOf<IQ4_XSBlock> {
  static constexpr int kOffset = kEightBitOffset;
  static constexpr bool kWide = kEightBitsAreWide;
  explicit IQ4_XSStrip(const StripPlace& place) : StripBlockOf(place) {
    scale_ = low_halves(word(0));
  }
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return look_up(byte_table(kIq4Values, kOffset), nibbles<W / 4>(word(2 + 4 * G + W % 4)));
  }
  template <std::size_t G>
  Lanes scale() const {
    const Words low = unsigned_nibble<G>(word(1));
    const Words high = shift_right<16 + 2 * static_cast<int>(G)>(word(0)) & words_set(3);
    return scale_ * to_lanes(unsigned_byte<0>(low | shift_left<4>(high)) + ints_set(-32));
  }

 private:
  template <std::size_t G>
  static Words unsigned_nibble(Words a) {
    return shift_right<4 * static_cast<int>(G)>(a) & words_set(15);
  }
  Lanes scale_;
};

/// Ternary codes, with an offset of one.
struct TQ1_0Strip : StripBlockOf<TQ1_0Block> {
  static constexpr int kOffset = 1;
  explicit TQ1_0Strip(const StripPlace& place) : StripBlockOf(place) {}
  template <std::size_t G, std::size_t W>
  Words codes() const {
    constexpr std::size_t kSixteen = 2 * G + W / 4;  // of columns
    if constexpr (kSixteen < 10) {
      return digits<G>(word(W));
    } else if constexpr (kSixteen < 15) {
      return digits<kSixteen - 10>(word(8 + W % 4));
    } else {
      return digits<W % 4>(word(12));
    }
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_half(rest());
  }

 private:
  static constexpr int kPowersOf3[] = {1, 3, 9, 27, 81};
  /// Digit D of each byte, as TQ1_0Block has it: bytes are computed with in halves of 16 bits,
  /// every other one at a time.
  template <std::size_t D>
  static Words digits(Words bytes) {
    const auto every_other = [](Words a) {
      const Words fractions = halves_times<kPowersOf3[D]>(a) & words_set(0x00ff00ff);
      return halves_times<3>(fractions) & words_set(0x03000300);
    };
    return shift_right<8>(every_other(bytes & words_set(0x00ff00ff))) |
           every_other(shift_right<8>(bytes) & words_set(0x00ff00ff));
  }
};

struct TQ2_0Strip : StripBlockOf<TQ2_0Block> {
  static constexpr int kOffset = 1;
  explicit TQ2_0Strip(const StripPlace& place) : StripBlockOf(place) {}
  template <std::size_t G, std::size_t W>
  Words codes() const {
    return pairs<G % 4>(word(8 * (G / 4) + W));
  }
  template <std::size_t>
  Lanes scale() const {
    return lanes_load_half(rest());
  }
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

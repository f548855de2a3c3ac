#pragma once
// Strips of nested codes (base/nested_planes.h), as strip_blocks.h has those of ordinary formats: a
// width is a type, which reads the groups of planes that make it and no others.
//
// A code's integer is table or position and, where a width's middle is half an integer, all of that
// doubled (and the scale halved). Where rows have offsets, a multiple of them is added to it: then
// the group's integer is
//     kFactor * dot(bytes, x) + row_terms * sum(x)
// with bytes of at most 8 bits, in which an offset of bytes (StripBlockOf::kOffset) is made good.
// Without them, bytes are integers with an offset, as in any format.

#include <cstddef>
#include <cstdint>

#include "base/nested_planes.h"
#include "base/quant_blocks.h"
#include "cpu/code_lanes.h"
#include "cpu/dot_kernels.h"
#include "cpu/strip_blocks.h"
#include "cpu/strip_kernels.h"
#include "cpu/unroll.h"

namespace sluice::SLUICE_ISA {
namespace {

/// What NestedForm says, for the compiler, and what a tile's scales are.
struct FittedForm {
  static constexpr int kBits = 8, kFirst = -128, kUnit = 8, kSteps = 1;
  static constexpr bool kBook = false, kFitted = true, kMin = false;
  static constexpr std::size_t kBlock = 32, kGroup = 32, kScaleBytes = 1;
  static constexpr int kGroups[] = {2, 1, 1, 1, 1, 2};
  class Scales {
   public:
    Scales(const std::byte* at, const NestedHeader* header) : at_(at), header_(header) {}
    template <std::size_t>
    Lanes scale() const {
      return lanes_load_small_floats(at_, header_->exponent_base);
    }

   private:
    const std::byte* at_;
    const NestedHeader* header_;
  };
};

/// One scale for 32 columns, which kLoad finds.
template <Lanes (*kLoad)(const std::byte*)>
class BlockScales {
 public:
  BlockScales(const std::byte* at, const NestedHeader*) : at_(at) {}
  template <std::size_t>
  Lanes scale() const {
    return kLoad(at_);
  }

 private:
  const std::byte* at_;
};

struct Q8_0Form {
  static constexpr int kBits = 8, kFirst = -128, kUnit = 8, kSteps = 1;
  static constexpr bool kBook = false, kFitted = false, kMin = false;
  static constexpr std::size_t kBlock = 32, kGroup = 32, kScaleBytes = 2;
  static constexpr int kGroups[] = {2, 1, 1, 1, 1, 2};
  using Scales = BlockScales<lanes_load_half>;
};
struct Q4_0Form {
  static constexpr int kBits = 4, kFirst = -8, kUnit = 1, kSteps = 16;
  static constexpr bool kBook = false, kFitted = false, kMin = false;
  static constexpr std::size_t kBlock = 32, kGroup = 32, kScaleBytes = 2;
  static constexpr int kGroups[] = {2, 1, 1};
  using Scales = BlockScales<lanes_load_half>;
};
struct MXFP4Form {
  static constexpr int kBits = 4, kFirst = 0, kUnit = 0, kSteps = 8;
  static constexpr bool kBook = true, kFitted = false, kMin = false;
  static constexpr std::size_t kBlock = 32, kGroup = 32, kScaleBytes = 1;
  static constexpr int kGroups[] = {2, 1, 1};
  using Scales = BlockScales<lanes_load_powers>;
};

struct Q4_KForm {
  static constexpr int kBits = 4, kFirst = 0, kUnit = 0, kSteps = 8;
  static constexpr bool kBook = false, kFitted = false, kMin = true;
  static constexpr std::size_t kBlock = 256, kGroup = 32, kScaleBytes = 16;
  static constexpr int kGroups[] = {2, 1, 1};
  /// The source's header as it lies in a strip of its own.
  struct Scales : PackedScalesBlock<Q4_KBlock> {
    Scales(const std::byte* at, const NestedHeader*) : PackedScalesBlock({.block = at}) {}
  };
};

struct Q6_KForm {
  static constexpr int kBits = 6, kFirst = -32, kUnit = 0, kSteps = 4;
  static constexpr bool kBook = false, kFitted = false, kMin = false;
  static constexpr std::size_t kBlock = 256, kGroup = 16, kScaleBytes = 18;
  static constexpr int kGroups[] = {2, 1, 1, 1, 1};
  class Scales {
   public:
    Scales(const std::byte* at, const NestedHeader*)
        : at_(at), scale_(lanes_load_half(at + 64 * 4)) {}
    template <std::size_t G>
    Lanes scale() const {
      return scale_ * to_lanes(signed_byte<G % 4>(words_load(at_ + 64 * (G / 4))));
    }

   private:
    const std::byte* at_;
    Lanes scale_;
  };
};

constexpr int log_2(int power) { return power == 1 ? 0 : 1 + log_2(power / 2); }

template <typename Form, int kWidth>
class NestedStrip {
  static constexpr bool kTable = kWidth <= 4 && kWidth < Form::kBits;
  static constexpr bool kBook = !kTable && Form::kBook;
  static_assert(!kBook || kWidth == Form::kBits);
  /// Of a prefix's first code, and twice the middle of those that share it, from there on.
  static constexpr int kShared = 1 << (Form::kBits - kWidth);
  static constexpr int kTwiceMiddle = kShared - (Form::kFitted ? 0 : 1);
  static constexpr bool kDoubled = !kTable && kTwiceMiddle % 2 != 0;
  static constexpr bool kOffsets = Form::kUnit != 0;
  // Seven bits are unsigned in every instruction set, and four of Q4_0.
  static constexpr bool kFourBits = !kTable && Form::kBits == 4;
  static constexpr bool kSigned = kTable || (kOffsets && !kFourBits);
  static constexpr int offset_of_bytes() {
    if (kSigned) return kEightBitOffset;
    if (kOffsets) return 8;
    if (kBook) return 12;
    return kDoubled ? -(2 * Form::kFirst + kTwiceMiddle) : -Form::kFirst;
  }

 public:
  static constexpr std::size_t kGroup = Form::kGroup, kGroups = Form::kBlock / kGroup;
  static constexpr bool kMin = Form::kMin, kRowTerms = kOffsets;
  static constexpr int kFactor = kOffsets && kDoubled ? 2 : 1;
  static constexpr bool kWide = kEightBitsAreWide && kSigned;
  static constexpr int kOffset = offset_of_bytes();
  static constexpr std::size_t kFewRowsOfBlock = kFewRows;

  explicit NestedStrip(const StripPlace& place)
      : place_(place), scales_(place.block + 4 * Form::kBlock, place.header) {}

  /// The codes of group G.
  template <std::size_t G>
  class Group;
  template <std::size_t G>
  Group<G> group() const {
    return Group<G>(place_);
  }
  template <std::size_t G>
  Lanes scale() const {
    constexpr float kPart = 1.0f / (kDoubled ? 2 : kTable ? Form::kSteps : 1);
    const Lanes scales = scales_.template scale<G>();
    return kPart == 1 ? scales : scales * lanes_set(kPart);
  }
  template <std::size_t G>
  Lanes min() const {
    return scales_.template min<G>();
  }
  Ints row_terms() const {
    constexpr int kUnit = kFactor * Form::kUnit * (kTable ? Form::kSteps : 1);
    // Nibbles are offsets + 8, bytes have kOffset too much, and positions are made middles.
    constexpr int kMiddle = kTable ? 0 : kTwiceMiddle * kFactor / 2;
    const std::byte* const offsets = place_.block + 4 * Form::kBlock + 16 * Form::kScaleBytes;
    return shift_left<log_2(kUnit)>(nibbles_of_rows(offsets)) +
           ints_set(kMiddle - 8 * kUnit - kFactor * kOffset);
  }

  /// Planes are more places than hardware prefetchers keep ahead of.
  static constexpr std::size_t kAskedTogether = Form::kBlock == kNestedBlock ? 4 : 1;
  [[gnu::always_inline]] static void ask_ahead(const StripPlace& place) {
    constexpr std::size_t kAhead = 1024 / Form::kBlock;
    prefetch(place.block + kAhead * kTileBytes, kAskedTogether * kTileBytes);
#pragma GCC unroll 1
    for (std::size_t i = 0; i < kFiner; ++i) {
      prefetch(place.finer[i] + (place.tile + kAhead) * finer_bytes(i),
               kAskedTogether * finer_bytes(i));
    }
  }
  static void advance(StripPlace& place, std::size_t tiles) {
    place.block += tiles * kTileBytes;
    place.tile += tiles;
  }

 private:
  // Of a tile: in group 0, and in finer[index].
  static constexpr std::size_t kTileBytes =
      4 * Form::kBlock + 16 * Form::kScaleBytes + (kOffsets ? 8 : 0);
  static constexpr std::size_t finer_bytes(std::size_t index) {
    return 2 * Form::kBlock * static_cast<std::size_t>(Form::kGroups[index + 1]);
  }
  static constexpr int bits_before(std::size_t groups) {
    int bits = 0;
    for (std::size_t i = 0; i < groups; ++i) bits += Form::kGroups[i];
    return bits;
  }
  static constexpr std::size_t count_finer() {
    std::size_t groups = 1;
    while (bits_before(groups) < kWidth) ++groups;
    return groups - 1;
  }
  static constexpr std::size_t kFiner = count_finer();
  static_assert(bits_before(kFiner + 1) == kWidth);

  const StripPlace& place_;
  const typename Form::Scales scales_;
};

template <typename Form, int kWidth>
template <std::size_t G>
class NestedStrip<Form, kWidth>::Group {
  static constexpr std::size_t kHalves = kGroup / 16;     // of 16 columns,
  static constexpr std::size_t kFirst = G * kHalves % 2;  // the first of 32 or the second
  static constexpr std::size_t kBlock = G * kHalves / 2;  // of 32 columns, in the tile

 public:
  explicit Group(const StripPlace& place) : place_(place) {
    unroll<kHalves>([&](auto index) {
      constexpr std::size_t kIndex = decltype(index)::kValue, kHalf = kFirst + kIndex;
      if constexpr (kWidth == 3) {
        const Words top = this->top<kHalf>(), next = finer(0);
        const Words sixes = words_set(0x66666666), ones = words_set(0x11111111);
        upper_[kIndex][0] = (shift_left<1>(top) & sixes) | (moved<kHalf, 0>(next) & ones);
        upper_[kIndex][1] = (shift_right<1>(top) & sixes) | (moved<kHalf + 2, 0>(next) & ones);
      } else if constexpr (kWidth >= 4) {
        const Words top = this->top<kHalf>(), next = two_planes<kHalf>(finer(0), finer(1));
        upper_[kIndex][0] = select(kUpperPairs, shift_left<2>(top), next);
        upper_[kIndex][1] = select(kUpperPairs, top, shift_right<2>(next));
      }
      if constexpr (kWidth == 5) {
        const Words eights = words_set(0x88888888), next = finer(2);
        lower_[kIndex][0] = moved<kHalf, 3>(next) & eights;
        lower_[kIndex][1] = moved<kHalf + 2, 3>(next) & eights;
      } else if constexpr (kWidth >= 6) {
        const Words next = two_planes<kHalf>(finer(2), finer(3));
        const Words last = kWidth == 6 ? words_set(0) : finer(4, kHalf);
        lower_[kIndex][0] = select(kUpperPairs, shift_left<2>(next), last);
        lower_[kIndex][1] = select(kUpperPairs, next, shift_right<2>(last));
      }
    });
  }

  template <std::size_t W>
  Words codes() const {
    constexpr std::size_t kIndex = W / 4, kField = W % 4;
    if constexpr (kWidth == 2) {
      return look_up(table(),
                     shift_right<2 * kField>(top<kFirst + kIndex>()) & words_set(0x03030303));
    } else {
      const Words upper = upper_[kIndex][kField % 2];
      if constexpr (kWidth <= 4) {
        const Words nibble = (kField < 2 ? upper : shift_right<4>(upper)) & words_set(0x0f0f0f0f);
        if constexpr (kTable) return look_up(table(), nibble);
        if constexpr (kBook) return look_up(byte_table(kFp4RankedValues, kOffset), nibble);
        return nibble;
      } else {
        const Words lower = lower_[kIndex][kField % 2], mask = words_set(0xf0f0f0f0);
        const Words bytes = kField < 2 ? select(mask, shift_left<4>(upper), lower)
                                       : select(mask, upper, shift_right<4>(lower));
        // Of 6 bits, whose lowest two are zeros here, so that none comes from the byte above.
        if constexpr (Form::kBits == 6) return shift_right < kDoubled ? 1 : 2 > (bytes);
        return kOffset == 0 ? bytes ^ words_set(0x80808080) : bytes;
      }
    }
  }

 private:
  static constexpr std::uint32_t kUpperPairs = 0xcccccccc;
  /// Bits from kFrom on to kTo on, in words.
  template <std::size_t kFrom, std::size_t kTo>
  static Words moved(Words word) {
    if constexpr (kFrom < kTo) return shift_left<static_cast<int>(kTo - kFrom)>(word);
    if constexpr (kFrom > kTo) return shift_right<static_cast<int>(kFrom - kTo)>(word);
    return word;
  }
  static Words select(std::uint32_t mask, Words a, Words b) {
    return select(words_set(mask), a, b);
  }
  static Words select(Words mask, Words a, Words b) { return words_select(mask, a, b); }
  /// Two planes' bits of half of the columns side by side, as a group of two bits has them.
  template <std::size_t kHalf>
  static Words two_planes(Words upper, Words lower) {
    return select(0xaaaaaaaa, moved<kHalf, 1>(upper), moved<kHalf, 0>(lower));
  }
  ByteTable table() const {
    const auto* const header = reinterpret_cast<const std::int8_t*>(place_.header);
    constexpr std::size_t kTableAt = kWidth == 4   ? offsetof(NestedHeader, four)
                                     : kWidth == 3 ? offsetof(NestedHeader, three)
                                                   : offsetof(NestedHeader, two);
    static_assert(kTableAt + 16 <= sizeof(NestedHeader));  // what follows is never looked up
    return byte_table(*reinterpret_cast<const std::int8_t(*)[16]>(header + kTableAt), kOffset);
  }
  template <std::size_t kHalf>
  Words top() const {
    return words_load(place_.block + 128 * kBlock + 64 * kHalf);
  }
  /// A group of planes behind the first; `word`: of those of two bits.
  Words finer(std::size_t index, std::size_t word = 0) const {
    const auto bits = static_cast<std::size_t>(Form::kGroups[index + 1]);
    return words_load(place_.finer[index] + place_.tile * finer_bytes(index) +
                      64 * (bits * kBlock + word));
  }

  const StripPlace& place_;
  // Of each half of the columns, of even and of odd fields: nibbles of two words each, fields 0 and
  // 1 low, 2 and 3 high. The code's upper four bits (three at width 3), and those below, with zeros
  // behind them.
  Words upper_[kHalves][2], lower_[kHalves][2];
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

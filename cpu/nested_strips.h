#pragma once
// Strips of nested codes (base/nested_planes.h), as strip_blocks.h has those of ordinary formats: a
// width is a type, which reads the groups of planes that make it and no others.
//
// A code's integer is table or position, a multiple of its row's offset and, where a width's middle
// is half an integer, all of that doubled (and the scale halved): so the group's integer is
//     kFactor * dot(bytes, x) + row_terms * sum(x)
// with bytes of at most 8 bits, in which an offset of bytes (StripBlockOf::kOffset) is made good.

#include <cstddef>
#include <cstdint>

#include "base/nested_planes.h"
#include "cpu/code_lanes.h"
#include "cpu/strip_kernels.h"
#include "cpu/unroll.h"

namespace sluice::SLUICE_ISA {
namespace {

/// What NestedForm says, for the compiler.
struct FittedForm {
  static constexpr int kBits = 8, kUnit = 8, kSteps = 1;
  static constexpr bool kFitted = true;
  static constexpr NestedScale kScale = NestedScale::kByte;
  static constexpr int kGroups[] = {2, 1, 1, 1, 1, 2};
};
struct Q8_0Form {
  static constexpr int kBits = 8, kUnit = 8, kSteps = 1;
  static constexpr bool kFitted = false;
  static constexpr NestedScale kScale = NestedScale::kHalf;
  static constexpr int kGroups[] = {2, 1, 1, 1, 1, 2};
};
struct Q4_0Form {
  static constexpr int kBits = 4, kUnit = 1, kSteps = 16;
  static constexpr bool kFitted = false;
  static constexpr NestedScale kScale = NestedScale::kHalf;
  static constexpr int kGroups[] = {2, 1, 1};
};

constexpr int log_2(int power) { return power == 1 ? 0 : 1 + log_2(power / 2); }

template <typename Form, int kWidth>
class NestedStrip {
  static constexpr bool kTable = kWidth <= 4 && kWidth < Form::kBits;
  /// Twice the middle of the codes that share a prefix, from the first of them on.
  static constexpr int kTwiceMiddle = (1 << (Form::kBits - kWidth)) - (Form::kFitted ? 0 : 1);
  static constexpr bool kDoubled = !kTable && kTwiceMiddle % 2 != 0;

 public:
  static constexpr std::size_t kGroup = kNestedBlock, kGroups = 1;
  static constexpr bool kMin = false, kRowTerms = true;
  static constexpr int kFactor = kDoubled ? 2 : 1;
  // Four bits are unsigned in every instruction set.
  static constexpr bool kFourBits = !kTable && Form::kBits == 4;
  static constexpr bool kWide = kEightBitsAreWide && !kFourBits;
  static constexpr int kOffset = kFourBits ? 8 : kEightBitOffset;
  static constexpr std::size_t kFewRowsOfBlock = kFewRows;

  explicit NestedStrip(const StripPlace& place) : place_(place) {
    unroll<2>([&](auto half) {
      constexpr std::size_t kHalf = decltype(half)::kValue;
      if constexpr (kWidth == 3) {
        const Words top = words_load(place.block + 64 * kHalf), next = words_load(place.finer[0]);
        const Words sixes = words_set(0x66666666), ones = words_set(0x11111111);
        upper_[kHalf][0] = (shift_left<1>(top) & sixes) | (moved<kHalf, 0>(next) & ones);
        upper_[kHalf][1] = (shift_right<1>(top) & sixes) | (moved<kHalf + 2, 0>(next) & ones);
      } else if constexpr (kWidth >= 4) {
        const Words top = words_load(place.block + 64 * kHalf);
        const Words next = two_planes<kHalf>(place.finer[0], place.finer[1]);
        upper_[kHalf][0] = select(kUpperPairs, shift_left<2>(top), next);
        upper_[kHalf][1] = select(kUpperPairs, top, shift_right<2>(next));
      }
      if constexpr (kWidth == 5) {
        const Words eights = words_set(0x88888888), next = words_load(place.finer[2]);
        lower_[kHalf][0] = moved<kHalf, 3>(next) & eights;
        lower_[kHalf][1] = moved<kHalf + 2, 3>(next) & eights;
      } else if constexpr (kWidth >= 6) {
        const Words next = two_planes<kHalf>(place.finer[2], place.finer[3]);
        const Words last = kWidth == 6 ? words_set(0) : words_load(place.finer[4] + 64 * kHalf);
        lower_[kHalf][0] = select(kUpperPairs, shift_left<2>(next), last);
        lower_[kHalf][1] = select(kUpperPairs, next, shift_right<2>(last));
      }
    });
  }

  template <std::size_t, std::size_t W>
  Words codes() const {
    constexpr std::size_t kHalf = W / 4, kField = W % 4;
    if constexpr (kWidth == 2) {
      const Words top = words_load(place_.block + 64 * kHalf);
      return look_up(table(), shift_right<2 * kField>(top) & words_set(0x03030303));
    } else {
      const Words upper = upper_[kHalf][kField % 2];
      if constexpr (kWidth <= 4) {
        const Words nibble = (kField < 2 ? upper : shift_right<4>(upper)) & words_set(0x0f0f0f0f);
        if constexpr (kTable) return look_up(table(), nibble);
        return nibble;
      } else {
        const Words lower = lower_[kHalf][kField % 2], mask = words_set(0xf0f0f0f0);
        const Words bytes = kField < 2 ? select(mask, shift_left<4>(upper), lower)
                                       : select(mask, upper, shift_right<4>(lower));
        return kOffset == 0 ? bytes ^ words_set(0x80808080) : bytes;
      }
    }
  }
  template <std::size_t>
  Lanes scale() const {
    Lanes scales;
    if constexpr (Form::kScale == NestedScale::kHalf) {
      scales = lanes_load_half(scales_at());
    } else {
      scales = lanes_load_small_floats(scales_at(), place_.header->exponent_base);
    }
    constexpr float kPart = 1.0f / (kDoubled ? 2 : kTable ? Form::kSteps : 1);
    return kPart == 1 ? scales : scales * lanes_set(kPart);
  }
  Ints row_terms() const {
    constexpr int kUnit = kFactor * Form::kUnit * (kTable ? Form::kSteps : 1);
    // Nibbles are offsets + 8, bytes have kOffset too much, and positions are made middles.
    constexpr int kMiddle = kTable ? 0 : kTwiceMiddle * kFactor / 2;
    return shift_left<log_2(kUnit)>(nibbles_of_rows(scales_at() + kScaleBytes)) +
           ints_set(kMiddle - 8 * kUnit - kFactor * kOffset);
  }

  static void advance(StripPlace& place, std::size_t tiles) {
    place.block += tiles * (128 + kScaleBytes + 8);
    for (std::size_t i = 0; i < kFiner; ++i) {
      place.finer[i] += tiles * 64 * static_cast<std::size_t>(Form::kGroups[i + 1]);
    }
  }

 private:
  static constexpr std::size_t kScaleBytes = Form::kScale == NestedScale::kHalf ? 32 : 16;
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
  static Words two_planes(const std::byte* upper, const std::byte* lower) {
    return select(0xaaaaaaaa, moved<kHalf, 1>(words_load(upper)),
                  moved<kHalf, 0>(words_load(lower)));
  }
  ByteTable table() const {
    const auto* const header = reinterpret_cast<const std::int8_t*>(place_.header);
    constexpr std::size_t kFirst = kWidth == 4   ? offsetof(NestedHeader, four)
                                   : kWidth == 3 ? offsetof(NestedHeader, three)
                                                 : offsetof(NestedHeader, two);
    static_assert(kFirst + 16 <= sizeof(NestedHeader));  // what follows is never looked up
    return byte_table(*reinterpret_cast<const std::int8_t(*)[16]>(header + kFirst), kOffset);
  }
  const std::byte* scales_at() const { return place_.block + 128; }

  const StripPlace& place_;
  // Of each half of the columns, of even and of odd fields: nibbles of two words each, fields 0 and
  // 1 low, 2 and 3 high. The code's upper four bits (three at width 3), and those below, with zeros
  // behind them.
  Words upper_[2][2], lower_[2][2];
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

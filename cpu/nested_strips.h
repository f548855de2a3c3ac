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

  explicit NestedStrip(const StripPlace& place) : place_(place) {}

  template <std::size_t, std::size_t W>
  Words codes() const {
    // Where the prefix's last bit goes: a position is a code with zeros below.
    constexpr int kEnd = kTable ? 0 : Form::kBits - kWidth;
    Words prefix = field<W, 2, kEnd + kWidth - 2>(place_.block);
    unroll<kFiner>([&](auto index) {
      constexpr std::size_t kAt = decltype(index)::kValue;
      constexpr int kShift = kEnd + kWidth - bits_before(kAt + 2);
      prefix = prefix | field<W, Form::kGroups[kAt + 1], kShift>(place_.finer[kAt]);
    });
    if constexpr (kTable) return look_up(table(), prefix);
    return kWide && kOffset == 0 ? prefix ^ words_set(0x80808080) : prefix;
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

  /// kBits bits of each of columns 4W … 4W + 3, at bit kTo of their bytes.
  template <std::size_t W, int kBits, int kTo>
  static Words field(const std::byte* group) {
    constexpr int kPerByte = 8 / kBits;
    constexpr int kFrom = kBits * static_cast<int>(W % kPerByte);
    const Words word = words_load(group + 64 * (W / kPerByte));
    const Words mask = words_set(0x01010101u * (((1u << kBits) - 1) << kTo));
    if constexpr (kFrom < kTo) return shift_left<kTo - kFrom>(word) & mask;
    if constexpr (kFrom > kTo) return shift_right<kFrom - kTo>(word) & mask;
    return word & mask;
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
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

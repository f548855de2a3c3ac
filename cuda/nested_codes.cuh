#pragma once
// Nested codes (base/nested_planes.h) taken apart on the device: a thread has one row of a strip,
// and a form at a width is a type, which reads the groups of planes that make it and no others.
//
// A code becomes a byte, of which a group of codes with one scale makes
//
//     kFactor * (dot(bytes, x) - kOffset * sum(x)) + rest * sum(x)
//
// `rest` being what the row's offset adds, and the middle of codes that share a prefix. All of that
// is an integer: where a middle is half of one, everything is doubled and the scale halved.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/nested_planes.h"
#include "cuda/packed_words.cuh"
#include "cuda/product.h"
#include "cuda/weight_units_256.cuh"
#include "cuda/weight_units_32.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kStripRows = kNestedRows;

/// Where a strip's bytes are: of each group of planes, the strip's first tile.
struct StripPlanes {
  const NestedHeader* header;
  const unsigned char* groups[kMostNestedGroups];
};

// A form says what NestedForm does (kGroups: bits of each group of planes as nibbles, the first
// lowest), and what the scales of a row of a tile are: `at` is where they begin, all rows' together.

/// nested_scale of base/nested_stand.h.
__device__ __forceinline__ float fitted_scale(std::uint32_t byte, std::uint32_t exponent_base) {
  return __uint_as_float((byte << 20) + (exponent_base << 23));
}

struct FittedForm {
  static constexpr int kBits = 8, kFirst = -128, kUnit = 8, kSteps = 1;
  static constexpr bool kBook = false, kFitted = true, kHasMin = false;
  static constexpr int kBlock = 32, kGroup = 32, kScaleBytes = 1;
  static constexpr unsigned kGroups = 0x211112;
  struct Scales {
    float value;
    __device__ Scales(const unsigned char* at, int row, const NestedHeader& header)
        : value(fitted_scale(at[row], header.exponent_base)) {}
    __device__ float scale(int) const { return value; }
    __device__ float min(int) const { return 0.0f; }
  };
};

struct HalfScales {
  float value;
  __device__ HalfScales(const unsigned char* at, int row, const NestedHeader&)
      : value(load_half(at + 2 * row)) {}
  __device__ float scale(int) const { return value; }
  __device__ float min(int) const { return 0.0f; }
};

struct NestedQ8_0Form {
  static constexpr int kBits = 8, kFirst = -128, kUnit = 8, kSteps = 1;
  static constexpr bool kBook = false, kFitted = false, kHasMin = false;
  static constexpr int kBlock = 32, kGroup = 32, kScaleBytes = 2;
  static constexpr unsigned kGroups = 0x211112;
  using Scales = HalfScales;
};

struct NestedQ4_0Form {
  static constexpr int kBits = 4, kFirst = -8, kUnit = 1, kSteps = 16;
  static constexpr bool kBook = false, kFitted = false, kHasMin = false;
  static constexpr int kBlock = 32, kGroup = 32, kScaleBytes = 2;
  static constexpr unsigned kGroups = 0x112;
  using Scales = HalfScales;
};

struct NestedMXFP4Form {
  static constexpr int kBits = 4, kFirst = 0, kUnit = 0, kSteps = 8;
  static constexpr bool kBook = true, kFitted = false, kHasMin = false;
  static constexpr int kBlock = 32, kGroup = 32, kScaleBytes = 1;
  static constexpr unsigned kGroups = 0x112;
  struct Scales {
    float value;
    __device__ Scales(const unsigned char* at, int row, const NestedHeader&)
        : value(mxfp4_scale(at[row])) {}
    __device__ float scale(int) const { return value; }
    __device__ float min(int) const { return 0.0f; }
  };
};

struct NestedQ4_KForm {
  static constexpr int kBits = 4, kFirst = 0, kUnit = 0, kSteps = 8;
  static constexpr bool kBook = false, kFitted = false, kHasMin = true;
  static constexpr int kBlock = 256, kGroup = 32, kScaleBytes = 16;
  static constexpr unsigned kGroups = 0x112;
  struct Scales : PackedHeader {
    __device__ Scales(const unsigned char* at, int row, const NestedHeader&) {
#pragma unroll
      for (int i = 0; i < 4; ++i) words[i] = load_aligned<std::uint32_t>(at + 64 * i + 4 * row);
    }
  };
};

struct NestedQ6_KForm {
  static constexpr int kBits = 6, kFirst = -32, kUnit = 0, kSteps = 4;
  static constexpr bool kBook = false, kFitted = false, kHasMin = false;
  static constexpr int kBlock = 256, kGroup = 16, kScaleBytes = 18;
  static constexpr unsigned kGroups = 0x11112;
  struct Scales {
    const unsigned char* of_groups;
    float value;
    __device__ Scales(const unsigned char* at, int row, const NestedHeader&)
        : of_groups(at + 4 * row), value(load_half(at + 256 + 2 * row)) {}
    __device__ float scale(int group) const {
      const auto small = static_cast<std::int8_t>(of_groups[group / 4 * 64 + group % 4]);
      return value * static_cast<float>(small);
    }
    __device__ float min(int) const { return 0.0f; }
  };
};

template <typename FormOf, int kWidthOf>
struct NestedCodes {
  using Form = FormOf;
  static constexpr int kWidth = kWidthOf;
  static constexpr bool kTable = kWidth <= 4 && kWidth < Form::kBits;
  static constexpr bool kBook = !kTable && Form::kBook;
  /// Bytes come in ByteTable's order.
  static constexpr bool kLookedUp = kTable || kBook;
  static constexpr bool kOffsets = Form::kUnit != 0;

 private:
  /// Of a prefix's first code, and twice the middle of those that share it, from there on.
  static constexpr int kShared = 1 << (Form::kBits - kWidth);
  static constexpr int kTwiceMiddle = kShared - (Form::kFitted ? 0 : 1);
  static constexpr bool kDoubled = !kTable && kTwiceMiddle % 2 != 0;
  static constexpr int offset_of_bytes() {
    if (kLookedUp || Form::kBits == 8) return 0;  // signed
    if (kOffsets) return -Form::kFirst;
    return kDoubled ? -(2 * Form::kFirst + kTwiceMiddle) : -Form::kFirst;
  }
  static constexpr int bits_of(int group) { return Form::kGroups >> 4 * group & 15; }
  static constexpr int count_groups() {
    int groups = 0;
    for (int bits = 0; bits < kWidth; ++groups) bits += bits_of(groups);
    return groups;
  }

 public:
  static constexpr int kGroupCount = count_groups();  // of planes
  static constexpr int kFactor = kOffsets && kDoubled ? 2 : 1;
  static constexpr int kOffset = offset_of_bytes();
  static constexpr float kPart = 1.0f / (kDoubled ? 2 : kTable ? Form::kSteps : 1);
  /// Of a tile.
  static constexpr int kTileBytes =
      4 * Form::kBlock + 16 * Form::kScaleBytes + (kOffsets ? 8 : 0);  // in the first group
  static constexpr int finer_bytes(int group) { return 2 * Form::kBlock * bits_of(group); }

  static __device__ __forceinline__ ByteTable table(const NestedHeader& header) {
    ByteTable table = {};
    if constexpr (kBook) {
      // kFp4RankedValues of base/quant_blocks.h.
      table = {{0xfcfaf8f4u, 0x00fffefdu, 0x03020100u, 0x0c080604u}};
    } else if constexpr (kTable) {
      constexpr int kAt = kWidth == 4   ? offsetof(NestedHeader, four)
                          : kWidth == 3 ? offsetof(NestedHeader, three)
                                        : offsetof(NestedHeader, two);
      const auto* const from = reinterpret_cast<const unsigned char*>(&header) + kAt;
#pragma unroll
      for (int i = 0; i < (1 << kWidth) / 4; ++i) {
        table.words[i] = load_aligned<std::uint32_t>(from + 4 * i);
      }
    }
    return table;
  }

  /// Codes of 32 columns, block `block` of tile `tile`, as eight words: of the first sixteen
  /// columns, then of the others; four columns a word, or in ByteTable's order.
  static __device__ __forceinline__ void load(const StripPlanes& planes, std::size_t tile,
                                              int block, int row, const ByteTable& table,
                                              std::uint32_t (&codes)[8]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Planes of_half(planes, tile, block, row, half);
      std::uint32_t upper[2], lower[2];
      of_half.upper_nibbles(upper);
      of_half.lower_nibbles(lower);
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        std::uint32_t* const out = codes + 4 * half;
        if constexpr (kLookedUp) {
          look_up(table, upper[odd], out[2 * odd], out[2 * odd + 1]);
        } else {
          out[odd] = bytes(upper[odd] << 4, lower[odd], upper[odd]);
          out[2 + odd] = bytes(upper[odd], lower[odd] >> 4, upper[odd] >> 4);
        }
      }
    }
  }

  /// Column of 32 that byte `byte` of word `word` is of.
  static __device__ __forceinline__ int column(int word, int byte) {
    if constexpr (!kLookedUp) return 4 * word + byte;
    const int half = word / 4, odd = word / 2 % 2, back = word % 2;
    return 16 * half + 4 * (odd + 2 * (byte % 2)) + 2 * back + byte / 2;
  }

  /// Brings the activations of 32 columns into the codes' order.
  static __device__ __forceinline__ void arrange(std::uint32_t (&x)[8]) {
    if constexpr (kLookedUp) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t* const of_half = x + 4 * half;
        interleave(of_half[0], of_half[2]);
        interleave(of_half[1], of_half[3]);
        const std::uint32_t odd_front = of_half[1];
        of_half[1] = of_half[2];
        of_half[2] = odd_front;
      }
    }
  }

  /// Brings codes into the order of columns.
  static __device__ __forceinline__ void in_order(std::uint32_t (&codes)[8]) {
    if constexpr (kLookedUp) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t* const of_half = codes + 4 * half;
        straighten(of_half[0], of_half[1]);
        straighten(of_half[2], of_half[3]);
        const std::uint32_t back = of_half[1];
        of_half[1] = of_half[2];
        of_half[2] = back;
      }
    }
  }

  /// `scales`: where a tile's begin.
  static __device__ __forceinline__ int rest(const unsigned char* scales, int row) {
    if constexpr (kOffsets) {
      constexpr int kUnit = kFactor * Form::kUnit * (kTable ? Form::kSteps : 1);
      constexpr int kMiddle = kTable ? 0 : kTwiceMiddle * kFactor / 2;
      const int pair = scales[16 * Form::kScaleBytes + row % 8];
      return kUnit * ((row < 8 ? pair & 15 : pair >> 4) - 8) + kMiddle;
    } else {
      return 0;
    }
  }

 private:
  /// What the groups have of half of 32 columns.
  class Planes {
   public:
    __device__ __forceinline__ Planes(const StripPlanes& planes, std::size_t tile, int block,
                                      int row, int half)
        : half_(half) {
      top_ = load_aligned<std::uint32_t>(planes.groups[0] + tile * kTileBytes + 128 * block +
                                         64 * half + 4 * row);
#pragma unroll
      for (int group = 1; group < kGroupCount; ++group) {
        const int bits = bits_of(group);
        finer_[group] = load_aligned<std::uint32_t>(
            planes.groups[group] + tile * finer_bytes(group) + 64 * bits * block +
            (bits == 2 ? 64 * half : 0) + 4 * row);
      }
    }

    /// Nibbles of the upper four bits (three at width 3, two at width 2): word 0 has columns
    /// [0, 4) low and [8, 12) high, word 1 [4, 8) and [12, 16).
    __device__ __forceinline__ void upper_nibbles(std::uint32_t (&upper)[2]) const {
      if constexpr (kWidth == 2) {
        upper[0] = top_ & 0x33333333u;
        upper[1] = top_ >> 2 & 0x33333333u;
      } else if constexpr (kWidth == 3) {
        const std::uint32_t next = finer_[1] >> half_;
        upper[0] = (top_ << 1 & 0x66666666u) | (next & 0x11111111u);
        upper[1] = (top_ >> 1 & 0x66666666u) | (next >> 2 & 0x11111111u);
      } else {
        side_by_side(top_, two_planes(1), upper);
      }
    }
    /// Of those below, with zeros behind them.
    __device__ __forceinline__ void lower_nibbles(std::uint32_t (&lower)[2]) const {
      lower[0] = lower[1] = 0;
      if constexpr (kWidth == 5) {
        const std::uint32_t next = finer_[3] >> half_;
        lower[0] = next << 3 & 0x88888888u;
        lower[1] = next << 1 & 0x88888888u;
      } else if constexpr (kWidth >= 6) {
        side_by_side(two_planes(3), kWidth == 6 ? 0u : finer_[kGroupCount - 1], lower);
      }
    }

   private:
    /// Two planes' bits side by side, as a group of two bits has them.
    __device__ __forceinline__ std::uint32_t two_planes(int group) const {
      return (finer_[group] >> half_ << 1 & 0xaaaaaaaau) |
             (finer_[group + 1] >> half_ & 0x55555555u);
    }
    static __device__ __forceinline__ void side_by_side(std::uint32_t upper, std::uint32_t below,
                                                        std::uint32_t (&nibbles_of)[2]) {
      constexpr std::uint32_t kUpperPairs = 0xccccccccu;
      nibbles_of[0] = (upper << 2 & kUpperPairs) | (below & ~kUpperPairs);
      nibbles_of[1] = (upper & kUpperPairs) | (below >> 2 & ~kUpperPairs);
    }

    int half_;
    std::uint32_t top_;
    std::uint32_t finer_[kMostNestedGroups] = {};
  };

  /// Four codes' bytes: `high` has upper nibbles where they are in a byte, `low` lower ones where
  /// they are; `nibble` upper ones low, for codes of no more than four bits.
  static __device__ __forceinline__ std::uint32_t bytes(std::uint32_t high, std::uint32_t low,
                                                        std::uint32_t nibble) {
    const std::uint32_t whole = (high & 0xf0f0f0f0u) | (low & 0x0f0f0f0fu);
    if constexpr (Form::kBits == 4) {
      return nibble & 0x0f0f0f0fu;
    } else if constexpr (Form::kBits == 6) {
      // The lowest two bits are zeros here, so that none comes from the byte above.
      return whole >> (kDoubled ? 1 : 2);
    } else {
      return whole ^ 0x80808080u;
    }
  }
};

/// The planes of the strip that begins at a row.
template <typename Codes>
__device__ __forceinline__ StripPlanes strip_planes(const ProductWeight& weight, std::uint32_t row,
                                                    std::uint32_t columns) {
  const auto* const data = reinterpret_cast<const unsigned char*>(weight.data);
  const std::size_t tiles = std::size_t{row / kStripRows} * (columns / Codes::Form::kBlock);
  StripPlanes planes = {reinterpret_cast<const NestedHeader*>(data), {}};
  planes.groups[0] = data + sizeof(NestedHeader) + tiles * Codes::kTileBytes;
#pragma unroll
  for (int group = 1; group < Codes::kGroupCount; ++group) {
    planes.groups[group] = data + weight.at[group] + tiles * Codes::finer_bytes(group);
  }
  return planes;
}

/// visit(std::type_identity<NestedCodes<…>>()) for a form at one of the widths; a default result
/// where there is no such width.
template <typename Form, int... kWidths, typename Visit>
auto visit_widths(unsigned width, const Visit& visit) {
  decltype(visit(std::type_identity<NestedCodes<Form, 2>>())) found = {};
  const auto look_at = [&]<int kWidth>(std::integral_constant<int, kWidth>) {
    if (width == kWidth) found = visit(std::type_identity<NestedCodes<Form, kWidth>>());
  };
  (look_at(std::integral_constant<int, kWidths>()), ...);
  return found;
}

/// The same, of any form.
template <typename Visit>
auto visit_planes(const NestedForm& form, unsigned width, const Visit& visit)
    -> decltype(visit(std::type_identity<NestedCodes<FittedForm, 2>>())) {
  switch (form.source) {
    case TensorType::kF32:
      return visit_widths<FittedForm, 2, 3, 4, 5, 6, 8>(width, visit);
    case TensorType::kQ8_0:
      return visit_widths<NestedQ8_0Form, 2, 3, 4, 5, 6, 8>(width, visit);
    case TensorType::kQ4_0:
      return visit_widths<NestedQ4_0Form, 2, 3, 4>(width, visit);
    case TensorType::kMXFP4:
      return visit_widths<NestedMXFP4Form, 2, 3, 4>(width, visit);
    case TensorType::kQ4_K:
      return visit_widths<NestedQ4_KForm, 2, 3, 4>(width, visit);
    case TensorType::kQ6_K:
      return visit_widths<NestedQ6_KForm, 2, 3, 4, 5, 6>(width, visit);
    default:  // no form's source
      return {};
  }
}

}  // namespace sluice::cuda

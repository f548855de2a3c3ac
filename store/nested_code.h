#pragma once
// Nested codes: a weight has one code of 8 or 4 bits, and the upper b bits of it alone are the
// weight at width b. 32 neighbours of a row, a block, share a scale and an offset:
//
//     value at width b = scale * step * (stand_b(code >> (bits - b)) + unit * offset)
//
// A stand is the number that all codes with one prefix are taken for. docs/nesting.md says why this
// form was chosen.

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/nested_planes.h"

namespace sluice {

inline constexpr int kNestedLeastOffset = -8, kNestedMostOffset = 7;

/// What the codes of a matrix are.
enum class NestedCodes : std::uint8_t {
  kFitted,  // of float weights: 8 bits, code c is the bucket [c, c + 1) - 128
  kCodes8,  // of a source with codes of 8 bits: its code + 128 - 8 * offset
  kCodes4,  // of a source with codes of 4 bits: its code + 8 - offset
};

constexpr unsigned nested_bits(NestedCodes form) { return form == NestedCodes::kCodes4 ? 4 : 8; }
/// Stands are whole numbers of steps: a sixteenth of a code where there are only 16, because the
/// middle of two neighbours must be a stand, too.
constexpr int nested_unit(NestedCodes form) { return form == NestedCodes::kCodes4 ? 16 : 8; }
constexpr float nested_step(NestedCodes form) {
  return form == NestedCodes::kCodes4 ? 1.0f / 16 : 1.0f;
}

/// The stands of the widths 2, 3 and 4, fitted to a matrix. kCodes4 has four[p] = 16 * (p - 8).
struct NestedTables {
  std::int8_t two[4];
  std::int8_t three[8];
  std::int8_t four[16];
};

/// The stand of a prefix at a width of 2 up to the form's bits. From 5 bits on it is the middle of
/// the codes that share the prefix; at 8, of kCodes8, the code itself.
constexpr float nested_stand(NestedCodes form, const NestedTables& tables, unsigned width,
                             unsigned prefix) {
  if (width == 2) return tables.two[prefix];
  if (width == 3) return tables.three[prefix];
  if (width == 4) return tables.four[prefix];
  const float codes = static_cast<float>(1u << (8 - width));
  const float first = static_cast<float>(prefix) * codes - 128;
  return first + (form == NestedCodes::kFitted ? codes : codes - 1) / 2;
}

/// The scale that a byte of kFitted means: the upper five bits an exponent, the lower three the
/// mantissa after its leading one. REQUIRES: 1 <= exponent_base <= 223.
inline float nested_scale(std::uint8_t byte, std::uint8_t exponent_base) {
  return std::bit_cast<float>((std::uint32_t{byte} << 20) + (std::uint32_t{exponent_base} << 23));
}

}  // namespace sluice

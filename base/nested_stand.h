#pragma once
// What codes of nested matrices stand for (nested_planes.h), number by number.

#include <bit>
#include <cstdint>

#include "base/nested_planes.h"

namespace sluice {

/// Steps of the unit of offsets.
inline int nested_unit(const NestedForm& form) { return form.unit * form.steps; }

/// What a code is, in codes.
inline int nested_number(const NestedForm& form, unsigned code) {
  return form.book != nullptr ? form.book[code] : form.first + static_cast<int>(code);
}

/// Twice the middle of the numbers whose codes share a prefix, in steps.
inline int twice_nested_middle(const NestedForm& form, unsigned width, unsigned prefix) {
  const unsigned shared = 1u << (form.bits - width);
  const int first = nested_number(form, prefix * shared);
  const int last = nested_number(form, (prefix + 1) * shared - 1);
  return (first + last + (form.fitted ? 1 : 0)) * form.steps;
}

/// Twice what a prefix stands for at a width of the form's, in steps.
inline int twice_nested_stand(const NestedForm& form, const NestedHeader& header, unsigned width,
                              unsigned prefix) {
  if (form.has_table(width)) {
    return 2 * (width == 2   ? header.two[prefix]
                : width == 3 ? header.three[prefix]
                             : header.four[prefix]);
  }
  return twice_nested_middle(form, width, prefix);
}

/// The scale that a byte means. REQUIRES: exponent_base <= 223.
inline float nested_scale(std::uint8_t byte, std::uint8_t exponent_base) {
  return std::bit_cast<float>((std::uint32_t{byte} << 20) + (std::uint32_t{exponent_base} << 23));
}

}  // namespace sluice

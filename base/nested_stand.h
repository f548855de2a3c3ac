#pragma once
// What codes of nested matrices stand for (nested_planes.h), number by number.

#include <bit>
#include <cstdint>

#include "base/nested_planes.h"

namespace sluice {

/// Steps of the unit of offsets.
inline int nested_unit(const NestedForm& form) { return form.unit * form.steps; }

/// Twice what a prefix stands for at a width of the form's, in steps.
inline int twice_nested_stand(const NestedForm& form, const NestedHeader& header, unsigned width,
                              unsigned prefix) {
  if (form.has_table(width)) {
    return 2 * (width == 2   ? header.two[prefix]
                : width == 3 ? header.three[prefix]
                             : header.four[prefix]);
  }
  const int shared = 1 << (form.bits - width);  // codes with this prefix
  const int first = static_cast<int>(prefix) * shared - (1 << (form.bits - 1));
  return (2 * first + shared - (form.fitted ? 0 : 1)) * form.steps;
}

/// The scale that a byte means. REQUIRES: exponent_base <= 223.
inline float nested_scale(std::uint8_t byte, std::uint8_t exponent_base) {
  return std::bit_cast<float>((std::uint32_t{byte} << 20) + (std::uint32_t{exponent_base} << 23));
}

}  // namespace sluice

#pragma once
// Nested matrices for tests: random ones, and what each of their numbers is by the definition in
// base/nested_planes.h, written out once more.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "base/nested_planes.h"
#include "tests/cpu/plain_dot.h"

namespace sluice::testing {

struct NestedMatrix {
  const NestedForm* form = nullptr;
  std::size_t rows = 0, columns = 0;
  NestedHeader header;
  std::vector<std::uint8_t> codes;
  std::vector<std::byte> scales;
  std::vector<std::int8_t> offsets;

  double scale(std::size_t row, std::size_t column) const {
    const std::size_t at = row * (columns / 32) + column / 32;
    if (form->scale == NestedScale::kHalf) {
      std::uint16_t half = 0;
      std::memcpy(&half, scales.data() + 2 * at, 2);
      return double{half_to_float(half)};
    }
    const auto byte = static_cast<int>(scales[at]);
    return std::ldexp(1.0 + (byte % 8) / 8.0, byte / 8 + header.exponent_base - 127);
  }
  /// The number that the scale is multiplied by.
  double number(std::size_t row, std::size_t column, unsigned width) const {
    const int code = codes[row * columns + column];
    const int prefix = code >> (form->bits - width);
    const double step = form->bits == 4 ? 1.0 / 16 : 1.0;
    double stand = 0;
    if (width == 2) {
      stand = header.two[prefix] * step;
    } else if (width == 3) {
      stand = header.three[prefix] * step;
    } else if (width == 4 && form->bits == 8) {
      stand = header.four[prefix];
    } else {
      // The middle of the first and the last code with this prefix; a fitted code is half a unit
      // further.
      const int first = prefix << (form->bits - width);
      const int last = first + (1 << (form->bits - width)) - 1;
      stand = (first + last) / 2.0 - (1 << (form->bits - 1)) + (form->fitted ? 0.5 : 0.0);
    }
    return stand + form->unit * offsets[row * (columns / 32) + column / 32];
  }
  double value(std::size_t row, std::size_t column, unsigned width) const {
    return scale(row, column) * number(row, column, width);
  }
};

/// `extreme`: codes, tables and offsets at their ends only.
inline NestedMatrix random_nested(const NestedForm& form, std::size_t rows, std::size_t columns,
                                  std::mt19937& random, bool extreme = false) {
  NestedMatrix matrix{&form, rows, columns, {}, {}, {}, {}};
  const auto draw = [&](int low, int high) {
    if (extreme) return random() % 2 == 0 ? low : high;
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (std::int8_t& stand : matrix.header.two) stand = static_cast<std::int8_t>(draw(-128, 127));
  for (std::int8_t& stand : matrix.header.three) stand = static_cast<std::int8_t>(draw(-128, 127));
  for (std::int8_t& stand : matrix.header.four) stand = static_cast<std::int8_t>(draw(-128, 127));
  matrix.header.exponent_base = static_cast<std::uint8_t>(90 + random() % 10);
  matrix.codes.resize(rows * columns);
  for (std::uint8_t& code : matrix.codes) {
    code = static_cast<std::uint8_t>(draw(0, (1 << form.bits) - 1));
  }
  const std::size_t blocks = rows * columns / 32;
  matrix.offsets.resize(blocks);
  for (std::int8_t& offset : matrix.offsets) offset = static_cast<std::int8_t>(draw(-8, 7));
  matrix.scales.resize(blocks * form.scale_bytes());
  for (std::size_t i = 0; i < blocks; ++i) {
    if (form.scale == NestedScale::kHalf) {
      store_half(matrix.scales.data() + 2 * i,
                 std::uniform_real_distribution<float>(-0.1f, 0.1f)(random));
    } else {
      matrix.scales[i] = static_cast<std::byte>(random() & 0xff);
    }
  }
  return matrix;
}

/// Cut into groups up to a width, each in memory of its own, so that a sanitizer sees what is read
/// beyond it. `data` is where the first begins.
struct CutNested {
  std::vector<std::vector<std::byte>> groups;
  WeightMatrix weight;
};

inline CutNested cut(const NestedMatrix& matrix, unsigned width) {
  CutNested out;
  const NestedParts parts{matrix.form,          matrix.rows,         matrix.columns,
                          matrix.header,        matrix.codes.data(), matrix.scales.data(),
                          matrix.offsets.data()};
  out.weight.format = &kNestedFormat;
  out.weight.rows = matrix.rows;
  out.weight.columns = matrix.columns;
  out.weight.layout = WeightLayout::kPlanes;
  out.weight.nested.form = matrix.form;
  out.weight.nested.width = static_cast<std::uint8_t>(width);
  const std::size_t count = matrix.form->groups_of(width);
  out.groups.resize(count);
  for (std::size_t group = 0; group < count; ++group) {
    out.groups[group].resize(matrix.form->group_bytes(group, matrix.rows, matrix.columns));
    write_nested_group(parts, group, out.groups[group].data());
    out.weight.nested.at[group] =
        static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(out.groups[group].data()) -
                                   reinterpret_cast<std::uintptr_t>(out.groups[0].data()));
  }
  out.weight.data = out.groups[0].data();
  return out;
}

}  // namespace sluice::testing

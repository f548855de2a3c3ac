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

/// MXFP4's numbers, twice as large, in their order.
inline constexpr int kFp4Numbers[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12};

struct NestedMatrix {
  const NestedForm* form = nullptr;
  std::size_t rows = 0, columns = 0;
  NestedHeader header;
  std::vector<std::uint8_t> codes;
  std::vector<std::byte> scales;
  std::vector<std::int8_t> offsets;

  /// What the scales of a weight's block are made of.
  const std::byte* scales_of(std::size_t row, std::size_t column) const {
    const std::size_t at = row * (columns / form->block) + column / form->block;
    return scales.data() + at * form->scale_bytes;
  }
  static double half(const std::byte* from) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, from, 2);
    return double{half_to_float(bits)};
  }
  double scale(std::size_t row, std::size_t column) const {
    const std::byte* const from = scales_of(row, column);
    const auto byte = static_cast<int>(*from);
    switch (form->source) {
      case TensorType::kF32:
        return std::ldexp(1.0 + (byte % 8) / 8.0, byte / 8 + header.exponent_base - 127);
      case TensorType::kMXFP4:
        return std::ldexp(1.0, byte - 128);
      case TensorType::kQ4_K:
        return half(from) * six_bits(row, column, 0);
      case TensorType::kQ6_K:
        return half(from + 16) * static_cast<std::int8_t>(from[column % 256 / 16]);
      default:
        return half(from);
    }
  }
  /// The number that the scale is multiplied by.
  double number(std::size_t row, std::size_t column, unsigned width) const {
    const int code = codes[row * columns + column];
    const int prefix = code >> (form->bits - width);
    const double step = steps();
    double stand = 0;
    if (width == 2) {
      stand = header.two[prefix] * step;
    } else if (width == 3) {
      stand = header.three[prefix] * step;
    } else if (width == 4 && form->bits > 4) {
      stand = header.four[prefix] * step;
    } else if (form->source == TensorType::kMXFP4) {
      stand = kFp4Numbers[code];
    } else if (form->source == TensorType::kQ4_K) {
      stand = code;
    } else {
      // The middle of the first and the last code with this prefix; a fitted code is half a unit
      // further.
      const int first = prefix << (form->bits - width);
      const int last = first + (1 << (form->bits - width)) - 1;
      stand = (first + last) / 2.0 - (1 << (form->bits - 1)) + (form->fitted ? 0.5 : 0.0);
    }
    return form->unit == 0 ? stand
                           : stand + form->unit * offsets[row * (columns / 32) + column / 32];
  }
  /// Of a table's numbers, in codes.
  double steps() const {
    switch (form->source) {
      case TensorType::kQ4_0:
        return 1.0 / 16;
      case TensorType::kMXFP4:
      case TensorType::kQ4_K:
        return 1.0 / 8;
      case TensorType::kQ6_K:
        return 1.0 / 4;
      default:
        return 1;
    }
  }
  /// What is added to it, scaled.
  double minimum(std::size_t row, std::size_t column) const {
    if (form->source != TensorType::kQ4_K) return 0;
    return -half(scales_of(row, column) + 2) * six_bits(row, column, 4);
  }
  double value(std::size_t row, std::size_t column, unsigned width) const {
    return scale(row, column) * number(row, column, width) + minimum(row, column);
  }

 private:
  /// A group's scale of Q4_K (`from` 0) or its minimum (4), as base/quant_blocks.h packs them.
  int six_bits(std::size_t row, std::size_t column, std::size_t from) const {
    const std::byte* const packed = scales_of(row, column) + 4;
    const auto byte = [&](std::size_t i) { return static_cast<int>(packed[i]); };
    const std::size_t group = column % 256 / 32;
    if (group < 4) return byte(from + group) % 64;
    const int pair = byte(8 + group - 4);
    return (from == 0 ? pair % 16 : pair / 16) + byte(from + group - 4) / 64 * 16;
  }
};

/// Scales as models have them: small numbers.
inline void draw_scales(TensorType source, std::byte* block, std::mt19937& random) {
  const auto half = [&](std::byte* at) {
    store_half(at, std::uniform_real_distribution<float>(-0.1f, 0.1f)(random));
  };
  switch (source) {
    case TensorType::kF32:
      *block = static_cast<std::byte>(random() & 0xff);
      break;
    case TensorType::kMXFP4:
      *block = static_cast<std::byte>(100 + random() % 30);
      break;
    case TensorType::kQ4_K:
      half(block);
      half(block + 2);
      for (int i = 4; i < 16; ++i) block[i] = static_cast<std::byte>(random() & 0xff);
      break;
    case TensorType::kQ6_K:
      for (int i = 0; i < 16; ++i) block[i] = static_cast<std::byte>(random() & 0xff);
      half(block + 16);
      break;
    default:
      half(block);
  }
}

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
  const std::size_t blocks = rows * columns / form.block;
  if (form.unit != 0) matrix.offsets.resize(blocks);
  for (std::int8_t& offset : matrix.offsets) offset = static_cast<std::int8_t>(draw(-8, 7));
  matrix.scales.resize(blocks * form.scale_bytes);
  for (std::size_t i = 0; i < blocks; ++i) {
    draw_scales(form.source, matrix.scales.data() + i * form.scale_bytes, random);
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
  out.weight.format = &matrix.form->format();
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

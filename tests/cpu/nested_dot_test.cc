// Nested codes under the kernels of every instruction set: bit for bit what the canonical order
// makes of the numbers that base/nested_planes.h defines.

#include <gtest/gtest.h>

#include <bit>

#include "base/aligned_buffer.h"
#include "base/quant_blocks.h"
#include "base/strip_layout.h"
#include "cpu/kernels.h"
#include "tests/cpu/nested_matrix.h"
#include "tests/cpu/tested_kernels.h"

namespace sluice::testing {
namespace {

std::vector<unsigned> widths_of(const NestedForm& form) {
  std::vector<unsigned> widths;
  for (std::size_t count = 1; count <= form.group_count; ++count) {
    widths.push_back(form.width(count));
  }
  return widths;
}

/// Rule 2 of canonical.h: 16 times the numbers are integers.
PlainDot plain_quantised(const NestedMatrix& matrix, unsigned width, std::size_t row,
                         const Activations& x, std::size_t x_row) {
  PlainDot result;
  float acc = 0;
  const std::size_t group = matrix.form->source == TensorType::kQ6_K ? 16 : 32;
  for (std::size_t k = 0; k < matrix.columns; k += group) {
    if (k % kSegment == 0) {
      if (k > 0) result.canonical += acc;
      acc = 0;
    }
    int sixteen_times = 0, sum = 0;
    for (std::size_t i = 0; i < group; ++i) {
      const int code = x.codes[x_row * matrix.columns + k + i];
      sixteen_times += static_cast<int>(16 * matrix.number(row, k + i, width)) * code;
      sum += code;
    }
    const float a = x.scales[(x_row * matrix.columns + k) / 32];
    const auto part = static_cast<float>(matrix.scale(row, k) / 16);
    acc = std::fma(part * a, static_cast<float>(sixteen_times), acc);
    const double term = double{part} * double{a} * sixteen_times;
    result.exact += term;
    result.magnitude += std::fabs(term);
    if (matrix.form->source == TensorType::kQ4_K) {
      const auto minimum = static_cast<float>(matrix.minimum(row, k));
      acc = std::fma(minimum * a, static_cast<float>(sum), acc);
      result.exact += double{minimum} * double{a} * sum;
      result.magnitude += std::fabs(double{minimum} * double{a} * sum);
    }
  }
  result.canonical += acc;
  result.roundings = 1 + 2 * kSegment / 32 + matrix.columns / kSegment + 1;
  return result;
}

/// Rule 3.
PlainDot plain_float(const NestedMatrix& matrix, unsigned width, std::size_t row,
                     const Activations& x, std::size_t x_row) {
  OwnedMatrix floats;
  floats.bytes.resize(matrix.columns * sizeof(float));
  for (std::size_t i = 0; i < matrix.columns; ++i) {
    const auto value = static_cast<float>(matrix.value(row, i, width));
    std::memcpy(floats.bytes.data() + i * sizeof(float), &value, sizeof(float));
  }
  floats.matrix = {&tensor_format(TensorType::kF32), floats.bytes.data(), 1, matrix.columns};
  return float_dot(floats.matrix, 0, x, x_row);
}

std::vector<float> multiply(const Kernels& kernels, const WeightMatrix& weight,
                            const Activations& x, std::size_t n_rows, std::size_t first_row) {
  AlignedBuffer scratch = AlignedBuffer::allocate(kDotScratchBytes).value();
  const std::size_t rows = std::min(kTileWeightRows, weight.rows - first_row);
  std::vector<float> output(n_rows * rows);
  DotTile tile;
  tile.format = weight.format;
  tile.weight = weight.data;
  tile.layout = weight.layout;
  tile.nested = weight.nested;
  tile.row_bytes = weight.layout == WeightLayout::kRows ? weight.row_bytes() : 0;
  tile.first_row = first_row;
  tile.weight_rows = rows;
  tile.columns = weight.columns;
  tile.values = x.values;
  tile.codes = x.codes;
  tile.scales = x.scales;
  tile.sums = x.sums;
  tile.n_rows = n_rows;
  tile.output = output.data();
  tile.output_stride = rows;
  kernels.dot(tile, scratch.data());
  return output;
}

void expect_canonical(const NestedMatrix& matrix, unsigned width, std::size_t n_rows,
                      bool with_codes, std::mt19937& random, bool emulated, int code = -1) {
  const CutNested stored = cut(matrix, width);
  const OwnedActivations x = random_activations(n_rows, matrix.columns, with_codes, random, code);
  for (std::size_t first = 0; first < matrix.rows; first += kTileWeightRows) {
    const std::size_t rows = std::min(kTileWeightRows, matrix.rows - first);
    std::vector<PlainDot> want;
    for (std::size_t at = 0; at < n_rows * rows; ++at) {
      want.push_back(with_codes
                         ? plain_quantised(matrix, width, first + at % rows, x.view, at / rows)
                         : plain_float(matrix, width, first + at % rows, x.view, at / rows));
    }
    for (const TestedKernels& tested : tested_kernels()) {
      if (tested.emulated && !emulated) continue;
      SCOPED_TRACE(tested.name);
      const std::vector<float> got =
          multiply(*tested.kernels, stored.weight, x.view, n_rows, first);
      for (std::size_t at = 0; at < got.size(); ++at) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(got[at]),
                  std::bit_cast<std::uint32_t>(want[at].canonical))
            << got[at] << " is not " << want[at].canonical << " at weight row " << first + at % rows
            << " of " << matrix.rows << " x " << matrix.columns << ", width " << width << ", "
            << n_rows << " rows";
        ASSERT_NEAR(static_cast<double>(got[at]), want[at].exact, want[at].bound());
      }
    }
  }
}

TEST(NestedDot, IsCanonicalAtEveryWidthAndShape) {
  std::mt19937 random(1);
  for (const NestedForm& form : nested_forms()) {
    SCOPED_TRACE(form.name);
    for (const unsigned width : widths_of(form)) {
      for (const std::size_t blocks : {1, 3, 17, 24}) {
        const std::size_t columns = form.block == 32 ? blocks * 32 : (blocks / 8 + 1) * form.block;
        for (const std::size_t rows : {1, 16, 37, 100}) {
          const NestedMatrix matrix = random_nested(form, rows, columns, random);
          const std::size_t n_rows = std::vector<std::size_t>{1, 2, 5, 33}[random() % 4];
          expect_canonical(matrix, width, n_rows, /*with_codes=*/random() % 3 != 0, random,
                           /*emulated=*/rows == 37);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Long rows are taken in runs of eight segments.
TEST(NestedDot, TakesLongRows) {
  std::mt19937 random(2);
  for (const NestedForm& form : nested_forms()) {
    for (const unsigned width : widths_of(form)) {
      const NestedMatrix matrix = random_nested(form, 20, 4864, random);
      expect_canonical(matrix, width, 1, /*with_codes=*/true, random, /*emulated=*/false);
    }
  }
}

TEST(NestedDot, DoesNotOverflow) {
  std::mt19937 random(3);
  for (const NestedForm& form : nested_forms()) {
    for (const unsigned width : widths_of(form)) {
      for (const std::size_t n_rows : {1, 9}) {
        const NestedMatrix matrix = random_nested(form, 16, 512, random, /*extreme=*/true);
        expect_canonical(matrix, width, n_rows, /*with_codes=*/true, random, /*emulated=*/true,
                         127);
      }
    }
  }
}

TEST(NestedDot, DecodesRows) {
  std::mt19937 random(4);
  for (const NestedForm& form : nested_forms()) {
    for (const unsigned width : widths_of(form)) {
      const NestedMatrix matrix = random_nested(form, 21, 3 * form.block, random);
      const CutNested stored = cut(matrix, width);
      std::vector<float> row(matrix.columns);
      for (std::size_t r = 0; r < matrix.rows; ++r) {
        decode_row(stored.weight, r, row.data());
        for (std::size_t i = 0; i < row.size(); ++i) {
          ASSERT_EQ(row[i], static_cast<float>(matrix.value(r, i, width)))
              << form.name << ", width " << width;
        }
      }
    }
  }
}

/// Where a source's block has what its scales are made of.
std::size_t scales_at(TensorType source) { return source == TensorType::kQ6_K ? 192 : 0; }

/// Nested codes and offsets of a source's numbers.
NestedMatrix nested_of(const NestedForm& form, const OwnedMatrix& source, std::mt19937& random) {
  const TensorFormat& format = tensor_format(form.source);
  NestedMatrix matrix = random_nested(form, source.matrix.rows, source.matrix.columns, random);
  const std::size_t blocks = source.bytes.size() / format.block_bytes;
  for (std::size_t at = 0; at < blocks; ++at) {
    const std::byte* const block = source.bytes.data() + at * format.block_bytes;
    std::memcpy(matrix.scales.data() + at * form.scale_bytes, block + scales_at(form.source),
                form.scale_bytes);
    std::int8_t numbers[256];
    float scales[16], mins[16];
    format.unpack(block, numbers, scales, mins);
    const auto [low, high] = std::minmax_element(numbers, numbers + form.block);
    const int half = 1 << (form.bits - 1);
    int moved = 0;  // any offset at which every number has a code
    if (form.unit != 0) {
      std::vector<int> offsets;
      for (int offset = -8; offset <= 7; ++offset) {
        const int by = form.unit * offset;
        if (*low - by >= -half && *high - by < half) offsets.push_back(offset);
      }
      matrix.offsets[at] = static_cast<std::int8_t>(offsets[random() % offsets.size()]);
      moved = form.unit * matrix.offsets[at];
    }
    for (std::size_t i = 0; i < form.block; ++i) {
      int code = numbers[i] - moved + (form.source == TensorType::kQ4_K ? 0 : half);
      if (form.source == TensorType::kMXFP4) {
        code = static_cast<int>(std::find(kFp4Numbers, kFp4Numbers + 16, numbers[i]) - kFp4Numbers);
      }
      matrix.codes[at * form.block + i] = static_cast<std::uint8_t>(code);
    }
  }
  return matrix;
}

/// Codes that leave offsets room.
void narrow_codes(TensorType type, OwnedMatrix& source, std::mt19937& random) {
  const std::size_t bytes = tensor_format(type).block_bytes;
  for (std::size_t at = 0; at < source.bytes.size(); at += bytes) {
    if (random() % 2 != 0) continue;
    for (std::size_t i = 2; i < bytes; ++i) {
      std::byte& byte = source.bytes[at + i];
      if (type == TensorType::kQ8_0) byte = static_cast<std::byte>(static_cast<int>(byte) % 100);
      if (type == TensorType::kQ4_0) byte = (byte & std::byte{0x77}) | std::byte{0x11};
    }
  }
}

TEST(NestedDot, GivesTheBitsOfIntegerSourcesAtFullWidth) {
  std::mt19937 random(5);
  for (const NestedForm& form : nested_forms()) {
    if (form.fitted) continue;
    for (const std::size_t n_rows : {1, 3, 20}) {
      const std::size_t columns = form.block == 32 ? 544 : 5 * form.block;
      OwnedMatrix source = random_matrix(tensor_format(form.source), 35, columns, random);
      narrow_codes(form.source, source, random);
      const CutNested stored = cut(nested_of(form, source, random), form.bits);
      for (const bool with_codes : {true, false}) {
        const OwnedActivations x = random_activations(n_rows, columns, with_codes, random);
        for (const TestedKernels& tested : tested_kernels()) {
          const std::vector<float> want =
              multiply(*tested.kernels, source.matrix, x.view, n_rows, 0);
          const std::vector<float> got =
              multiply(*tested.kernels, stored.weight, x.view, n_rows, 0);
          ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0)
              << form.name << ", " << tested.name << ", " << n_rows << " rows";
        }
      }
      std::vector<float> want(columns), got(columns);
      for (std::size_t row = 0; row < source.matrix.rows; ++row) {
        decode_row(source.matrix, row, want.data());
        decode_row(stored.weight, row, got.data());
        ASSERT_EQ(std::memcmp(got.data(), want.data(), columns * sizeof(float)), 0)
            << form.name << ", row " << row;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::testing

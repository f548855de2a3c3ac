// The dot kernels of every instruction set, straight from the table: bit for bit in the canonical
// order, and near double precision.

#include <gtest/gtest.h>

#include <bit>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/strip_layout.h"
#include "cpu/kernels.h"
#include "tests/cpu/plain_dot.h"
#include "tests/cpu/tested_kernels.h"

namespace sluice::testing {
namespace {

struct Case {
  std::size_t weight_rows, columns, n_rows;
  bool gather = false, bias = false, with_codes = true;
  int code_byte = -1, code = -1;  // see plain_dot.h
};

/// The matrix with its strips turned by a set of kernels.
OwnedMatrix in_strips(const OwnedMatrix& rows, const Kernels& kernels) {
  OwnedMatrix strips = rows;
  const WeightMatrix& matrix = rows.matrix;
  const std::size_t bytes = kStripRows * matrix.row_bytes();
  for (std::size_t strip = 0; strip < matrix.rows / kStripRows; ++strip) {
    kernels.to_strip(*matrix.format, rows.bytes.data() + strip * bytes, matrix.row_bytes(),
                     kStripRows, matrix.columns / matrix.format->block_elements,
                     strips.bytes.data() + strip * bytes);
  }
  strips.matrix.data = strips.bytes.data();
  strips.matrix.layout = WeightLayout::kStrips;
  return strips;
}

/// Every set of kernels with every layout of the weights.
std::vector<std::pair<TestedKernels, WeightLayout>> tested_ways(const TensorFormat& format,
                                                                bool emulated) {
  std::vector<std::pair<TestedKernels, WeightLayout>> ways;
  for (const TestedKernels& tested : tested_kernels()) {
    if (tested.emulated && !emulated) continue;
    ways.emplace_back(tested, WeightLayout::kRows);
    if (format.quantised()) ways.emplace_back(tested, WeightLayout::kStrips);
  }
  return ways;
}

/// One product by every set of kernels.
void expect_canonical(const TensorFormat& format, const Case& shape, unsigned seed,
                      bool emulated = true) {
  std::mt19937 random(seed);
  const OwnedMatrix weight =
      random_matrix(format, shape.weight_rows, shape.columns, random, shape.code_byte);
  const std::size_t x_rows = shape.gather ? shape.n_rows + 3 : shape.n_rows;
  const OwnedActivations x =
      random_activations(x_rows, shape.columns, shape.with_codes, random, shape.code);
  std::vector<std::uint32_t> index(shape.n_rows);
  for (std::uint32_t& row : index) row = static_cast<std::uint32_t>(random() % x_rows);
  std::vector<float> bias(shape.weight_rows);
  for (float& value : bias) value = static_cast<float>(random() % 100) * 0.37f;
  const std::size_t stride = shape.weight_rows + 3;
  constexpr float kUntouched = 12345.0f;

  std::vector<float> want(shape.n_rows * stride, kUntouched);
  std::vector<PlainDot> plain(want.size());
  for (std::size_t r = 0; r < shape.n_rows; ++r) {
    for (std::size_t i = 0; i < shape.weight_rows; ++i) {
      const std::size_t at = r * stride + i;
      plain[at] = plain_dot(weight.matrix, i, x.view, shape.gather ? index[r] : r);
      want[at] = plain[at].canonical + (shape.bias ? bias[i] : 0.0f);
    }
  }

  for (const auto& [tested, layout] : tested_ways(format, emulated)) {
    SCOPED_TRACE(tested.name);
    SCOPED_TRACE(layout == WeightLayout::kStrips ? "strips" : "rows");
    const OwnedMatrix stored =
        layout == WeightLayout::kStrips ? in_strips(weight, *tested.kernels) : weight;
    std::vector<float> output(want.size(), kUntouched);
    AlignedBuffer scratch = AlignedBuffer::allocate(kDotScratchBytes).value();
    DotTile tile;
    tile.format = &format;
    tile.weight = stored.bytes.data();
    tile.layout = layout;
    tile.row_bytes = weight.matrix.row_bytes();
    tile.weight_rows = shape.weight_rows;
    tile.columns = shape.columns;
    tile.values = x.view.values;
    tile.codes = x.view.codes;
    tile.scales = x.view.scales;
    tile.sums = x.view.sums;
    tile.row_index = shape.gather ? index.data() : nullptr;
    tile.n_rows = shape.n_rows;
    tile.output = output.data();
    tile.output_stride = stride;
    tile.bias = shape.bias ? bias.data() : nullptr;
    tested.kernels->dot(tile, scratch.data());
    for (std::size_t at = 0; at < want.size(); ++at) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(output[at]), std::bit_cast<std::uint32_t>(want[at]))
          << output[at] << " is not " << want[at] << " at row " << at / stride << ", weight row "
          << at % stride << " of " << shape.weight_rows << " x " << shape.columns << ", "
          << shape.n_rows << " rows";
      if (!shape.bias && at % stride < shape.weight_rows) {
        ASSERT_NEAR(static_cast<double>(output[at]), plain[at].exact, plain[at].bound());
      }
    }
  }
}

TEST(DotKernels, AreCanonicalForEveryFormatAndShape) {
  for (const TensorFormat& format : tensor_formats()) {
    SCOPED_TRACE(format.name);
    const std::size_t block = std::max(format.block_elements, 32u);
    unsigned seed = 1;
    for (const bool with_codes : {true, false}) {
      for (const std::size_t n_rows : {1, 2, 3, 5, 16, 33}) {
        for (const std::size_t columns : {block, 3 * block, 512 + block}) {
          const std::size_t weight_rows = std::vector<std::size_t>{1, 16, 37, 64}[seed % 4];
          expect_canonical(format,
                           {.weight_rows = weight_rows,
                            .columns = columns,
                            .n_rows = n_rows,
                            .gather = seed % 2 == 0,
                            .bias = seed % 3 == 0,
                            .with_codes = with_codes},
                           seed, /*emulated=*/n_rows == 1 || n_rows == 5);
          if (HasFatalFailure()) return;
          ++seed;
        }
      }
    }
  }
}

TEST(DotKernels, TurnEveryRow) {
  for (const TensorFormat& format : tensor_formats()) {
    if (!format.quantised()) continue;
    SCOPED_TRACE(format.name);
    std::mt19937 random(5);
    const std::size_t columns = 3 * format.block_elements;
    const OwnedMatrix rows = random_matrix(format, 2 * kStripRows + 3, columns, random);
    for (const TestedKernels& tested : tested_kernels()) {
      SCOPED_TRACE(tested.name);
      const OwnedMatrix strips = in_strips(rows, *tested.kernels);
      EXPECT_NE(strips.bytes, rows.bytes);
      std::vector<float> want(columns), got(columns);
      for (std::size_t row = 0; row < rows.matrix.rows; ++row) {
        decode_row(rows.matrix, row, want.data());
        decode_row(strips.matrix, row, got.data());
        ASSERT_EQ(std::memcmp(got.data(), want.data(), columns * sizeof(float)), 0) << row;
      }
    }
  }
}

// Long rows are taken in runs of eight segments.
TEST(DotKernels, TakeOneRow) {
  for (const TensorFormat& format : tensor_formats()) {
    if (!format.quantised()) continue;
    SCOPED_TRACE(format.name);
    unsigned seed = 11;
    for (const std::size_t columns : {256, 768, 2048, 4864}) {
      for (const std::size_t weight_rows : {2, 16, 35}) {
        expect_canonical(
            format,
            {.weight_rows = weight_rows, .columns = columns, .n_rows = 1, .gather = seed % 2 == 0},
            seed, /*emulated=*/weight_rows == 35);
        if (HasFatalFailure()) return;
        ++seed;
      }
    }
  }
}

TEST(DotKernels, TakeAFullTile) {
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ6_K, TensorType::kBF16}) {
    expect_canonical(tensor_format(type),
                     {.weight_rows = kTileWeightRows,
                      .columns = 768,
                      .n_rows = kTileActivationRows,
                      .with_codes = tensor_format(type).quantised()},
                     7, /*emulated=*/false);
  }
}

TEST(DotKernels, TakeAnyNumberOfFloatColumns) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const std::size_t columns : {1, 7, 15, 17, 31, 300, 513, 531, 1029}) {
      for (const std::size_t n_rows : {1, 4, 6}) {
        expect_canonical(
            tensor_format(type),
            {.weight_rows = 11, .columns = columns, .n_rows = n_rows, .with_codes = false},
            static_cast<unsigned>(columns));
      }
    }
  }
}

// Where an instruction adds products in 16 bits, the largest ones must not saturate.
TEST(DotKernels, DoNotOverflow) {
  for (const TensorFormat& format : tensor_formats()) {
    if (!format.quantised()) continue;
    SCOPED_TRACE(format.name);
    for (const int code_byte : {0x00, 0x7f, 0x80, 0x81, 0x0f, 0xf0, 0xff}) {
      for (const std::size_t n_rows : {1, 9}) {
        expect_canonical(format,
                         {.weight_rows = 16,
                          .columns = 512,
                          .n_rows = n_rows,
                          .code_byte = code_byte,
                          .code = 127},
                         3);
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// The same numbers column by column, among others: element (row, column) at row * row_step +
/// column * column_stride.
OwnedMatrix in_columns(const OwnedMatrix& rows, std::size_t row_step, std::size_t column_stride) {
  const WeightMatrix& matrix = rows.matrix;
  const std::size_t bytes = matrix.format->block_bytes;
  OwnedMatrix owned;
  // No more than the last element, and before it bytes that are not a number in any format.
  owned.bytes.assign(
      ((matrix.rows - 1) * row_step + (matrix.columns - 1) * column_stride + 1) * bytes,
      std::byte{0xff});
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    for (std::size_t c = 0; c < matrix.columns; ++c) {
      std::copy_n(matrix.row(r) + c * bytes, bytes,
                  owned.bytes.data() + (r * row_step + c * column_stride) * bytes);
    }
  }
  owned.matrix = matrix;
  owned.matrix.data = owned.bytes.data();
  owned.matrix.layout = WeightLayout::kColumns;
  owned.matrix.row_step = row_step;
  owned.matrix.column_stride = column_stride;
  return owned;
}

TEST(DotKernels, MultiplyColumnsToTheBitsOfRows) {
  std::mt19937 random(77);
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const std::size_t rows : {1, 16, 50, 64}) {
      for (const std::size_t columns : {1, 16, 45, 512, 1100}) {
        for (const std::size_t row_step : {1, 2}) {
          SCOPED_TRACE(tensor_format(type).name);
          const std::size_t n_rows = random() % 2 == 0 ? 1 : 5;
          const OwnedMatrix plain = random_matrix(tensor_format(type), rows, columns, random);
          const OwnedMatrix stored = in_columns(plain, row_step, 2 * rows + 3);
          const OwnedActivations x = random_activations(3, columns, false, random);
          const std::vector<std::uint32_t> index = {2, 0, 2, 1, 0};
          for (const TestedKernels& tested : tested_kernels()) {
            AlignedBuffer scratch = AlignedBuffer::allocate(kDotScratchBytes).value();
            std::vector<float> output(n_rows * rows);
            DotTile tile;
            tile.format = stored.matrix.format;
            tile.weight = stored.matrix.data;
            tile.layout = stored.matrix.layout;
            tile.row_step = row_step;
            tile.column_stride = stored.matrix.column_stride;
            tile.weight_rows = rows;
            tile.columns = columns;
            tile.values = x.view.values;
            tile.row_index = index.data();
            tile.n_rows = n_rows;
            tile.output = output.data();
            tile.output_stride = rows;
            tested.kernels->dot(tile, scratch.data());
            for (std::size_t at = 0; at < output.size(); ++at) {
              const PlainDot want = plain_dot(plain.matrix, at % rows, x.view, index[at / rows]);
              ASSERT_EQ(std::bit_cast<std::uint32_t>(output[at]),
                        std::bit_cast<std::uint32_t>(want.canonical))
                  << tested.name << ", " << rows << " x " << columns << ", step " << row_step;
              ASSERT_NEAR(static_cast<double>(output[at]), want.exact, want.bound());
            }
          }
          std::vector<float> want(columns), got(columns);
          decode_row(plain.matrix, rows - 1, want.data());
          decode_row(stored.matrix, rows - 1, got.data());
          EXPECT_EQ(got, want);
        }
      }
    }
  }
}

TEST(DotKernels, MultiplyF8CodesByTheirBlocksScales) {
  struct Blocks {
    TensorType type;
    std::size_t rows, columns;
  };
  std::mt19937 random(78);
  for (const Blocks blocks :
       {Blocks{TensorType::kF32, 128, 128}, Blocks{TensorType::kBF16, 6, 10},
        Blocks{TensorType::kF16, 1, 1200}, Blocks{TensorType::kF32, 90, 33}}) {
    for (const std::size_t columns : {1, 16, 45, 512, 1100}) {
      for (const std::size_t first_row : {0, 64}) {
        const std::size_t rows = first_row == 0 ? 64 : 19;
        const ScaledMatrix matrix = random_scaled_matrix(blocks.type, blocks.rows, blocks.columns,
                                                         first_row + rows, columns, random);
        const OwnedActivations x = random_activations(5, columns, false, random);
        for (const TestedKernels& tested : tested_kernels()) {
          AlignedBuffer scratch = AlignedBuffer::allocate(kDotScratchBytes).value();
          std::vector<float> output(5 * rows);
          DotTile tile;
          tile.format = matrix.codes.matrix.format;
          tile.weight = matrix.codes.matrix.row(first_row);
          tile.row_bytes = columns;
          tile.grid = matrix.codes.matrix.scales;
          tile.first_row = first_row;
          tile.weight_rows = rows;
          tile.columns = columns;
          tile.values = x.view.values;
          tile.n_rows = 5;
          tile.output = output.data();
          tile.output_stride = rows;
          tested.kernels->dot(tile, scratch.data());
          for (std::size_t at = 0; at < output.size(); ++at) {
            const PlainDot want =
                plain_dot(matrix.floats.matrix, first_row + at % rows, x.view, at / rows);
            ASSERT_EQ(std::bit_cast<std::uint32_t>(output[at]),
                      std::bit_cast<std::uint32_t>(want.canonical))
                << tested.name << ", row " << at % rows << " of " << columns;
          }
        }
        std::vector<float> want(columns), got(columns);
        for (std::size_t row = 0; row < first_row + rows; ++row) {
          decode_row(matrix.floats.matrix, row, want.data());
          decode_row(matrix.codes.matrix, row, got.data());
          ASSERT_EQ(std::memcmp(got.data(), want.data(), columns * sizeof(float)), 0) << row;
        }
      }
    }
  }
}

// Weights in strips of columns are not read where the activation is zero, and the bits are those of
// all terms.
TEST(DotKernels, SkipZerosToTheBitsOfAllTerms) {
  std::mt19937 random(79);
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const std::size_t rows : {1, 16, 50, 64}) {
      for (const std::size_t columns : {1, 45, 512, 1100}) {
        for (const unsigned percent : {30, 60, 90, 100}) {
          SCOPED_TRACE(tensor_format(type).name);
          const OwnedMatrix plain = random_matrix(tensor_format(type), rows, columns, random);
          const OwnedMatrix stored = in_columns(plain, 1, rows);
          OwnedActivations x = random_activations(1, columns, false, random);
          for (float& value : x.values) {
            if (random() % 100 < percent) value = random() % 2 != 0 ? 0.0f : -0.0f;
            // So small that products vanish, with either sign.
            if (random() % 20 == 0) value *= 1e-38f;
          }
          for (const TestedKernels& tested : tested_kernels()) {
            AlignedBuffer scratch = AlignedBuffer::allocate(kDotScratchBytes).value();
            std::vector<float> output(rows);
            DotTile tile;
            tile.format = stored.matrix.format;
            tile.weight = stored.matrix.data;
            tile.layout = WeightLayout::kColumns;
            tile.column_stride = rows;
            tile.weight_rows = rows;
            tile.columns = columns;
            tile.values = x.view.values;
            tile.n_rows = 1;
            tile.output = output.data();
            tile.output_stride = rows;
            tested.kernels->dot(tile, scratch.data());
            for (std::size_t row = 0; row < rows; ++row) {
              ASSERT_EQ(
                  std::bit_cast<std::uint32_t>(output[row]),
                  std::bit_cast<std::uint32_t>(plain_dot(plain.matrix, row, x.view, 0).canonical))
                  << tested.name << ", " << rows << " x " << columns << ", " << percent << " %";
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::testing

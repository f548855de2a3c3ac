// The dot kernels of every instruction set, straight from the table: bit for bit in the canonical
// order, and near double precision.

#include <gtest/gtest.h>

#include <bit>

#include "base/aligned_buffer.h"
#include "cpu/kernels.h"
#include "tests/cpu/plain_dot.h"

namespace sluice::testing {
namespace {

struct Case {
  std::size_t weight_rows, columns, n_rows;
  bool gather, bias;
};

void expect_canonical(const Kernels& kernels, const TensorFormat& format, const Case& shape,
                      bool with_codes, unsigned seed, int code_byte = -1, int code = -1) {
  std::mt19937 random(seed);
  const OwnedMatrix weight =
      random_matrix(format, shape.weight_rows, shape.columns, random, code_byte);
  const std::size_t x_rows = shape.gather ? shape.n_rows + 3 : shape.n_rows;
  const OwnedActivations x = random_activations(x_rows, shape.columns, with_codes, random, code);
  std::vector<std::uint32_t> index(shape.n_rows);
  for (std::uint32_t& row : index) row = static_cast<std::uint32_t>(random() % x_rows);
  std::vector<float> bias(shape.weight_rows);
  for (float& value : bias) value = static_cast<float>(random() % 100) * 0.37f;
  const std::size_t stride = shape.weight_rows + 3;
  constexpr float kUntouched = 12345.0f;
  std::vector<float> output(shape.n_rows * stride, kUntouched);
  AlignedBuffer scratch = AlignedBuffer::allocate(kDotScratchBytes).value();

  DotTile tile;
  tile.format = &format;
  tile.weight = weight.matrix.data;
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
  kernels.dot(tile, scratch.data());

  for (std::size_t r = 0; r < shape.n_rows; ++r) {
    for (std::size_t i = 0; i < shape.weight_rows; ++i) {
      const PlainDot plain = plain_dot(weight.matrix, i, x.view, shape.gather ? index[r] : r);
      const float got = output[r * stride + i];
      const float want = shape.bias ? plain.canonical + bias[i] : plain.canonical;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(want))
          << got << " is not " << want << " at row " << r << ", weight row " << i << " of "
          << shape.weight_rows << " x " << shape.columns << ", " << shape.n_rows << " rows";
      if (!shape.bias) {
        ASSERT_NEAR(static_cast<double>(got), plain.exact, plain.bound());
      }
    }
    for (std::size_t i = shape.weight_rows; i < stride; ++i) {
      ASSERT_EQ(output[r * stride + i], kUntouched);
    }
  }
}

class DotKernels : public ::testing::TestWithParam<Isa> {
 protected:
  const Kernels& kernels() const { return kernels_of(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isas, DotKernels, ::testing::ValuesIn(available_isas()),
                         [](const auto& tested) {
                           std::string name;
                           for (const char c : isa_name(tested.param)) {
                             if (std::isalnum(c)) name += c;
                           }
                           return name;
                         });

TEST_P(DotKernels, AreCanonicalForEveryFormatAndShape) {
  for (const TensorFormat& format : tensor_formats()) {
    SCOPED_TRACE(format.name);
    const std::size_t block = std::max(format.block_elements, 32u);
    unsigned seed = 1;
    for (const bool with_codes : {true, false}) {
      for (const std::size_t n_rows : {1, 2, 3, 5, 16, 33}) {
        for (const std::size_t columns : {block, 3 * block, 512 + block}) {
          const std::size_t weight_rows = std::vector<std::size_t>{1, 16, 37, 64}[seed % 4];
          expect_canonical(kernels(), format,
                           {weight_rows, columns, n_rows, seed % 2 == 0, seed % 3 == 0}, with_codes,
                           seed);
          if (HasFatalFailure()) return;
          ++seed;
        }
      }
    }
  }
}

TEST_P(DotKernels, TakeAFullTile) {
  for (const TensorFormat& format : tensor_formats()) {
    SCOPED_TRACE(format.name);
    for (const bool with_codes : {true, false}) {
      expect_canonical(kernels(), format, {kTileWeightRows, 768, kTileActivationRows, false, false},
                       with_codes, 7);
    }
  }
}

TEST_P(DotKernels, TakeAnyNumberOfFloatColumns) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const std::size_t columns : {1, 7, 15, 17, 31, 300, 513, 531, 1029}) {
      for (const std::size_t n_rows : {1, 4, 6}) {
        expect_canonical(kernels(), tensor_format(type), {11, columns, n_rows, false, true}, false,
                         static_cast<unsigned>(columns));
      }
    }
  }
}

// Where an instruction adds products in 16 bits, the largest ones must not saturate.
TEST_P(DotKernels, DoNotOverflow) {
  for (const TensorFormat& format : tensor_formats()) {
    if (!format.quantised()) continue;
    SCOPED_TRACE(format.name);
    for (const int code_byte : {0x00, 0x7f, 0x80, 0x81, 0x0f, 0xf0, 0xff}) {
      for (const std::size_t n_rows : {1, 9}) {
        expect_canonical(kernels(), format, {16, 512, n_rows, false, false}, true, 3, code_byte,
                         127);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::testing

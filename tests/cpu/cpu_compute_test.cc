// CpuCompute as the forward pass calls it: several tasks at once, cut into tiles and shared out
// over threads, must give what one plain dot after another gives.

#include "cpu/cpu_compute.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/aligned_buffer.h"
#include "base/strip_layout.h"
#include "tests/cpu/plain_dot.h"

namespace sluice::testing {
namespace {

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> result;
  for (const float value : values) result.push_back(std::bit_cast<std::uint32_t>(value));
  return result;
}

/// Runs `check` with every instruction set and 1 to 4 threads.
template <typename Check>
void for_each_compute(const Check& check) {
  for (const Isa isa : available_isas()) {
    for (unsigned threads = 1; threads <= 4; ++threads) {
      auto compute = make_cpu_compute(threads, isa);
      ASSERT_TRUE(compute.ok());
      SCOPED_TRACE((*compute)->name());
      check(**compute);
    }
  }
}

struct Product {
  OwnedMatrix weight;
  OwnedActivations input;
  std::vector<std::uint32_t> index;
  std::vector<float> bias, output, want;
  MatmulTask task;
};

Product make_product(TensorType type, std::size_t rows, std::size_t columns, std::size_t n_rows,
                     bool with_codes, bool gather, std::mt19937& random) {
  Product p;
  p.weight = random_matrix(tensor_format(type), rows, columns, random);
  p.input = random_activations(n_rows + 2, columns, with_codes, random);
  for (std::size_t r = 0; gather && r < n_rows; ++r) {
    p.index.push_back(static_cast<std::uint32_t>(random() % (n_rows + 2)));
  }
  if (gather) p.bias.assign(rows, 0.25f);
  const std::size_t stride = rows + 5;
  p.output.assign(n_rows * stride, 9.0f);
  p.want = p.output;
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (std::size_t i = 0; i < rows; ++i) {
      const PlainDot plain = plain_dot(p.weight.matrix, i, p.input.view, gather ? p.index[r] : r);
      p.want[r * stride + i] = plain.canonical + (gather ? p.bias[i] : 0.0f);
    }
  }
  p.task = {.weight = p.weight.matrix,
            .input = p.input.view,
            .row_index = gather ? p.index.data() : nullptr,
            .n_rows = n_rows,
            .output = p.output.data(),
            .output_stride = stride,
            .bias = gather ? p.bias.data() : nullptr};
  return p;
}

TEST(CpuCompute, MultipliesTasksOfManySizesTogether) {
  std::mt19937 random(11);
  std::vector<Product> products;
  products.push_back(make_product(TensorType::kQ8_0, 200, 96, 1, true, false, random));
  products.push_back(make_product(TensorType::kQ4_K, 65, 512, 140, true, true, random));
  products.push_back(make_product(TensorType::kBF16, 130, 77, 3, false, true, random));
  products.push_back(make_product(TensorType::kQ6_K, 33, 256, 5, false, false, random));
  products.push_back(make_product(TensorType::kQ4_0, 7, 64, 0, true, false, random));
  products.push_back(make_product(TensorType::kF32, 1, 20, 200, false, false, random));
  std::vector<MatmulTask> tasks;
  for (const Product& product : products) tasks.push_back(product.task);
  for_each_compute([&](Compute& compute) {
    for (Product& product : products) std::fill(product.output.begin(), product.output.end(), 9.0f);
    compute.matmul(tasks);
    for (std::size_t i = 0; i < products.size(); ++i) {
      ASSERT_EQ(bits(products[i].output), bits(products[i].want)) << "task " << i;
    }
  });
}

// Whole strips are turned, what is left of the rows stays, and formats that are not quantised do.
TEST(CpuCompute, MultipliesWhatItRepackedToTheSameBits) {
  std::mt19937 random(14);
  for (const TensorFormat& format : tensor_formats()) {
    SCOPED_TRACE(format.name);
    for (const bool with_codes : {true, false}) {
      for (const std::size_t rows : {16, 83, 7}) {
        const Product p = make_product(format.type, rows, 768, 6, with_codes, false, random);
        for_each_compute([&](Compute& compute) {
          Product repacked = p;
          repacked.output.assign(p.output.size(), 9.0f);
          MatmulTask task = p.task;
          task.weight.data = repacked.weight.bytes.data();
          task.output = repacked.output.data();
          const RepackTask repack{&task.weight, repacked.weight.bytes.data()};
          compute.repack({&repack, 1});
          const bool strips = task.weight.layout == WeightLayout::kStrips;
          EXPECT_EQ(strips, format.quantised() && rows >= kStripRows);
          EXPECT_EQ(repacked.weight.bytes != p.weight.bytes, strips);
          compute.repack({&repack, 1});  // once is enough
          compute.matmul({&task, 1});
          EXPECT_EQ(bits(repacked.output), bits(p.want));
        });
      }
    }
  }
}

// Of rows in any layout: an input that is no number is in every sum over it.
TEST(CpuCompute, AnInputThatIsNotANumberReachesEveryOutput) {
  std::mt19937 random(15);
  constexpr std::size_t kRows = 40, kColumns = 768;
  for (const TensorFormat& format : tensor_formats()) {
    if (!format.quantised()) continue;
    SCOPED_TRACE(format.name);
    Product p = make_product(format.type, kRows, kColumns, 2, true, false, random);
    p.input.values[kColumns + 517] = std::numeric_limits<float>::quiet_NaN();  // of the second row
    for_each_compute([&](Compute& compute) {
      for (const bool turned : {false, true}) {
        OwnedMatrix weight = p.weight;
        MatmulTask task = p.task;
        task.weight.data = weight.bytes.data();
        task.output = p.output.data();
        const RepackTask repack{&task.weight, weight.bytes.data()};
        if (turned) compute.repack({&repack, 1});
        compute.quantise(p.input.view, p.input.view.rows);
        compute.matmul({&task, 1});
        for (std::size_t i = 0; i < kRows; ++i) {
          EXPECT_EQ(p.output[i], p.want[i]);
          EXPECT_TRUE(std::isnan(p.output[task.output_stride + i])) << i << ", " << turned;
        }
      }
    });
  }
}

// What meets many zeros is turned column by column, in strips of which the last is narrower.
TEST(CpuCompute, TurnsFloatsForSparseInputs) {
  std::mt19937 random(17);
  for (const TensorFormat& format : tensor_formats()) {
    SCOPED_TRACE(format.name);
    for (const std::size_t rows : {7, 64, 150}) {
      for (const std::size_t n_rows : {1, 5}) {
        Product p = make_product(format.type, rows, 768, n_rows, true, false, random);
        for (float& value : p.input.values) {
          if (random() % 5 != 0) value = 0;
        }
        quantise_plainly(p.input);
        for (std::size_t at = 0; at < n_rows * rows; ++at) {
          p.want[at / rows * (rows + 5) + at % rows] =
              plain_dot(p.weight.matrix, at % rows, p.input.view, at / rows).canonical;
        }
        for_each_compute([&](Compute& compute) {
          OwnedMatrix weight = p.weight;
          std::fill(p.output.begin(), p.output.end(), 9.0f);
          MatmulTask task = p.task;
          task.weight.data = weight.bytes.data();
          const RepackTask repack{&task.weight, weight.bytes.data(), /*sparse_input=*/true};
          compute.repack({&repack, 1});
          const bool columns = format.type == TensorType::kF32 || format.type == TensorType::kF16 ||
                               format.type == TensorType::kBF16;
          EXPECT_EQ(task.weight.layout == WeightLayout::kColumnStrips, columns);
          compute.matmul({&task, 1});
          EXPECT_EQ(bits(p.output), bits(p.want));
          std::vector<float> want(768), got(768);
          for (std::size_t row = 0; row < rows; ++row) {
            decode_row(p.weight.matrix, row, want.data());
            decode_row(task.weight, row, got.data());
            ASSERT_EQ(bits(got), bits(want)) << row;
          }
        });
      }
    }
  }
}

// Scales go by the matrix's rows, whichever tile they are in.
TEST(CpuCompute, MultipliesF8UnderAGridOfScales) {
  std::mt19937 random(16);
  const ScaledMatrix matrix =
      random_scaled_matrix(TensorType::kF32, 48, 32, /*rows=*/210, /*columns=*/160, random);
  const OwnedActivations x = random_activations(3, 160, true, random);
  std::vector<float> output(3 * 210), want(output.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    want[i] = plain_dot(matrix.floats.matrix, i % 210, x.view, i / 210).canonical;
  }
  const MatmulTask task{.weight = matrix.codes.matrix,
                        .input = x.view,
                        .n_rows = 3,
                        .output = output.data(),
                        .output_stride = 210};
  for_each_compute([&](Compute& compute) {
    std::fill(output.begin(), output.end(), 9.0f);
    compute.matmul({&task, 1});
    EXPECT_EQ(bits(output), bits(want));
  });
}

// Gate and up in turn, column by column, as some files' experts have them.
TEST(CpuCompute, MultipliesInterleavedColumns) {
  std::mt19937 random(15);
  Product p = make_product(TensorType::kBF16, 150, 77, 5, false, true, random);
  const std::size_t bytes = p.weight.matrix.format->block_bytes;
  std::vector<std::byte> both(2 * p.weight.bytes.size());
  for (std::size_t row = 0; row < 150; ++row) {
    for (std::size_t column = 0; column < 77; ++column) {
      std::copy_n(p.weight.matrix.row(row) + column * bytes, bytes,
                  both.data() + (column * 300 + 2 * row + 1) * bytes);
    }
  }
  p.task.weight.data = both.data() + bytes;
  p.task.weight.layout = WeightLayout::kColumns;
  p.task.weight.row_step = 2;
  p.task.weight.column_stride = 300;
  for_each_compute([&](Compute& compute) {
    std::fill(p.output.begin(), p.output.end(), 9.0f);
    compute.matmul({&p.task, 1});
    EXPECT_EQ(bits(p.output), bits(p.want));
  });
}

TEST(CpuCompute, GivesARowTheSameBitsAloneAndInABatch) {
  std::mt19937 random(12);
  for (const TensorFormat& format : tensor_formats()) {
    Product p = make_product(format.type, 80, 512, 21, format.quantised(), false, random);
    for (const Isa isa : available_isas()) {
      const auto compute = make_cpu_compute(2, isa).value();
      compute->matmul({&p.task, 1});
      for (std::uint32_t r = 0; r < 21; ++r) {
        std::vector<float> alone(80);
        MatmulTask one = p.task;
        one.row_index = &r;
        one.n_rows = 1;
        one.output = alone.data();
        one.output_stride = 80;
        compute->matmul({&one, 1});
        const float* const row = p.output.data() + r * 85;
        ASSERT_EQ(bits(alone), bits(std::vector<float>(row, row + 80))) << format.name;
      }
    }
  }
}

TEST(CpuCompute, QuantisesRows) {
  std::mt19937 random(13);
  for (const std::size_t rows : {1, 7, 40}) {
    const OwnedActivations want = random_activations(rows, 96, true, random);
    for_each_compute([&](Compute& compute) {
      OwnedActivations got = want;
      std::fill(got.codes.begin(), got.codes.end(), std::int8_t{1});
      std::fill(got.scales.begin(), got.scales.end(), 0.0f);
      std::fill(got.sums.begin(), got.sums.end(), std::int16_t{0});
      compute.quantise({.values = got.values.data(),
                        .codes = got.codes.data(),
                        .scales = got.scales.data(),
                        .sums = got.sums.data(),
                        .rows = rows,
                        .columns = 96},
                       rows);
      EXPECT_EQ(got.codes, want.codes);
      EXPECT_EQ(got.scales, want.scales);
      EXPECT_EQ(got.sums, want.sums);
    });
  }
}

struct Expert {
  OwnedMatrix gate, up, down;
  OwnedActivations input;
  std::vector<std::uint32_t> index;
  AlignedBuffer hidden;
  std::vector<float> gate_bias, up_bias, down_bias;
  std::vector<float> output, want;
  FfnTask task;
};

/// down · (silu(gate · x) ⊙ (up · x)), one element after another; or the clamped form with biases.
Expert make_expert(TensorType type, TensorType down_type, std::size_t hidden, std::size_t ffn,
                   std::size_t n_rows, bool with_codes, std::mt19937& random,
                   bool clamped = false) {
  constexpr float kAlpha = 1.702f, kLimit = 1.5f;
  Expert e;
  const auto biases = [&](std::size_t n) {
    return clamped ? random_activations(1, n, false, random).values : std::vector<float>(n, 0.0f);
  };
  e.gate_bias = biases(ffn);
  e.up_bias = biases(ffn);
  e.down_bias = biases(hidden);
  e.gate = random_matrix(tensor_format(type), ffn, hidden, random);
  e.up = random_matrix(tensor_format(type), ffn, hidden, random);
  e.down = random_matrix(tensor_format(down_type), hidden, ffn, random);
  e.input = random_activations(n_rows + 4, hidden, with_codes, random);
  for (std::size_t r = 0; r < n_rows; ++r) {
    e.index.push_back(static_cast<std::uint32_t>(random() % (n_rows + 4)));
  }
  e.hidden = AlignedBuffer::allocate(Activations::bytes(n_rows, ffn, with_codes)).value();
  e.output.assign(n_rows * hidden, 0.0f);
  e.want = e.output;
  for (std::size_t r = 0; r < n_rows; ++r) {
    OwnedActivations inner = random_activations(1, ffn, with_codes, random);
    for (std::size_t i = 0; i < ffn; ++i) {
      const float gate =
          plain_dot(e.gate.matrix, i, e.input.view, e.index[r]).canonical + e.gate_bias[i];
      const float up = plain_dot(e.up.matrix, i, e.input.view, e.index[r]).canonical + e.up_bias[i];
      inner.values[i] =
          clamped ? canonical_clamped_swiglu(gate, up, kAlpha, kLimit) : canonical_silu(gate) * up;
    }
    if (with_codes) quantise_plainly(inner);
    for (std::size_t i = 0; i < hidden; ++i) {
      e.want[r * hidden + i] =
          plain_dot(e.down.matrix, i, inner.view, 0).canonical + e.down_bias[i];
    }
  }
  e.task = {.gate = e.gate.matrix,
            .up = e.up.matrix,
            .down = e.down.matrix,
            .input = e.input.view,
            .row_index = e.index.data(),
            .n_rows = n_rows,
            .hidden = Activations::carve(e.hidden.data(), n_rows, ffn, with_codes),
            .output = e.output.data()};
  if (clamped) {
    e.task.activation = Activation::kClampedSwiglu;
    e.task.alpha = kAlpha;
    e.task.limit = kLimit;
    e.task.gate_bias = e.gate_bias.data();
    e.task.up_bias = e.up_bias.data();
    e.task.down_bias = e.down_bias.data();
  }
  return e;
}

TEST(CpuCompute, RunsExpertsTogether) {
  std::mt19937 random(14);
  std::vector<Expert> experts;
  experts.push_back(make_expert(TensorType::kQ4_0, TensorType::kQ8_0, 64, 96, 1, true, random));
  experts.push_back(make_expert(TensorType::kQ4_K, TensorType::kQ6_K, 256, 256, 6, true, random));
  experts.push_back(make_expert(TensorType::kF16, TensorType::kF16, 40, 72, 2, false, random));
  experts.push_back(make_expert(TensorType::kQ8_0, TensorType::kQ8_0, 64, 160, 3, false, random));
  experts.push_back(
      make_expert(TensorType::kMXFP4, TensorType::kMXFP4, 96, 160, 3, true, random, true));
  experts.push_back(
      make_expert(TensorType::kBF16, TensorType::kBF16, 77, 70, 9, false, random, true));
  std::vector<FfnTask> tasks;
  for (const Expert& expert : experts) tasks.push_back(expert.task);
  for_each_compute([&](Compute& compute) {
    for (Expert& expert : experts) std::fill(expert.output.begin(), expert.output.end(), 9.0f);
    compute.ffn(tasks);
    for (std::size_t i = 0; i < experts.size(); ++i) {
      ASSERT_EQ(bits(experts[i].output), bits(experts[i].want)) << "expert " << i;
    }
  });
}

TEST(CpuCompute, NamesItself) {
  const auto compute = make_cpu_compute(2, Isa::kGeneric).value();
  EXPECT_EQ(compute->name(), "generic, 2 threads");
}

}  // namespace
}  // namespace sluice::testing

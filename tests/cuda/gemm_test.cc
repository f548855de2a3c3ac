// The GEMM kernels against the CPU, bit for bit: on the CPU through the shim and, from the same
// source, on a device.

#include "cuda/gemm.h"

#include <algorithm>

#include "cpu/cpu_compute.h"
#include "tests/cuda/matmul_case.h"

namespace sluice::testing {
namespace {

using cuda::kMaxGemmRows;
using cuda::ProductLaunch;
using cuda::ProductTask;

class GemmTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (!IsSkipped()) compute_ = std::move(make_cpu_compute(1)).value();
  }

  /// All in one launch, which must be of one kind.
  void expect_cpus_bits(std::vector<MatmulCase>& cases);

  std::unique_ptr<Compute> compute_;
};

/// A task's rows in tiles, as the kernels want them.
void cut(const MatmulTask& task, std::vector<ProductTask>& products) {
  for (std::size_t first = 0; first < task.n_rows; first += kMaxGemmRows) {
    ProductTask product;
    product.weight.data = task.weight.data;
    std::ranges::copy(task.weight.nested.at, product.weight.at);
    const std::size_t x = task.row_index == nullptr ? first : 0;
    if (task.input.codes != nullptr) {
      product.input = {task.input.codes + x * task.input.columns,
                       task.input.scales + x * task.input.columns / 32,
                       task.input.sums + x * task.input.columns / 16};
    }
    product.values = task.input.values + x * task.input.columns;
    product.row_index = task.row_index == nullptr ? nullptr : task.row_index + first;
    product.bias = task.bias;
    product.output = task.output + first * task.output_stride;
    product.output_stride = static_cast<std::uint32_t>(task.output_stride);
    product.rows = static_cast<std::uint32_t>(task.weight.rows);
    product.n_rows =
        static_cast<std::uint32_t>(std::min<std::size_t>(kMaxGemmRows, task.n_rows - first));
    products.push_back(product);
  }
}

ProductLaunch launch_of(const MatmulCase& like, const std::vector<ProductTask>& tasks) {
  ProductLaunch launch;
  launch.type = like.weight.format->type;
  launch.columns = static_cast<std::uint32_t>(like.shape.columns);
  launch.n_tasks = static_cast<std::uint32_t>(tasks.size());
  launch.in_float = !like.shape.with_codes || !like.weight.format->quantised();
  launch.form = like.weight.nested.form;
  launch.width = like.weight.nested.width;
  for (const ProductTask& task : tasks) {
    launch.max_rows = std::max(launch.max_rows, task.rows);
    launch.max_n_rows = std::max(launch.max_n_rows, task.n_rows);
  }
  return launch;
}

void GemmTest::expect_cpus_bits(std::vector<MatmulCase>& cases) {
  std::vector<DeviceMatmul> there;
  std::vector<ProductTask> tasks;
  for (const MatmulCase& of : cases) cut(there.emplace_back(of).task, tasks);
  const ProductLaunch launch = launch_of(cases[0], tasks);
  const DeviceArray<ProductTask> device_tasks{std::span<const ProductTask>(tasks)};
  ASSERT_EQ(cuda::launch_gemm(launch, device_tasks.data(), nullptr), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::vector<float> want = cases[i].expected(*compute_), got = there[i].output();
    const std::size_t stride = cases[i].output_stride();
    for (std::size_t at = 0; at < want.size(); ++at) {
      ASSERT_TRUE(same_bits(got[at], want[at]))
          << cases[i].weight.format->name << " " << cases[i].shape.rows << " x "
          << cases[i].shape.columns << ", row " << at / stride << " of " << cases[i].shape.n_rows
          << ", output " << at % stride << ": " << got[at] << ", not " << want[at];
    }
  }
}

TEST_F(GemmTest, EveryQuantisedFormatAtOddSizes) {
  std::mt19937 random(31);
  in_every_thread_order([&] {
    for (const TensorFormat& format : tensor_formats()) {
      if (!format.quantised()) continue;
      const std::size_t block = format.block_elements;
      // No whole tile of either side, a launch of tasks that are unlike, and more than a segment.
      std::vector<MatmulCase> small;
      for (const std::size_t n_rows : {1, 17, 0, 6}) {
        small.push_back(make_matmul(format, {n_rows + 4, block, n_rows}, random));
      }
      expect_cpus_bits(small);
      std::vector<MatmulCase> large;
      large.push_back(make_matmul(format, {70, 768 + block, 9}, random));
      expect_cpus_bits(large);
      if (HasFatalFailure()) return;
    }
  });
}

// Columns of any number, of floats; and whatever is quantised.
TEST_F(GemmTest, EveryFormatWithFloat32Activations) {
  std::mt19937 random(35);
  in_every_thread_order([&] {
    for (const TensorFormat& format : tensor_formats()) {
      if (!format.quantised() && !format.is_float()) continue;
      const std::size_t block = format.quantised() ? format.block_elements : 1;
      const auto whole = [&](std::size_t columns) {
        return std::max(block, columns / block * block);
      };
      std::vector<MatmulCase> small;
      for (const std::size_t n_rows : {1, 0, 5}) {
        small.push_back(make_matmul(
            format,
            {.rows = n_rows + 2, .columns = whole(77), .n_rows = n_rows, .with_codes = false},
            random));
      }
      expect_cpus_bits(small);
      std::vector<MatmulCase> large;
      large.push_back(make_matmul(
          format, {.rows = 71, .columns = whole(600), .n_rows = 10, .with_codes = false}, random));
      expect_cpus_bits(large);
      if (HasFatalFailure()) return;
    }
  });
}

TEST_F(GemmTest, EveryNestedFormAtEveryWidth) {
  std::mt19937 random(34);
  in_every_thread_order([&] {
    for (const NestedForm& form : nested_forms()) {
      for (std::size_t count = 1; count <= form.group_count; ++count) {
        const unsigned width = form.width(count);
        SCOPED_TRACE(std::string(form.name) + " at " + std::to_string(width));
        const std::size_t block = form.block;
        for (const bool with_codes : {true, false}) {
          std::vector<MatmulCase> cases;
          MatmulShape one{.rows = 5, .columns = 768, .n_rows = 1, .with_codes = with_codes};
          MatmulShape many{.rows = 69, .columns = 768, .n_rows = 18, .with_codes = with_codes};
          cases.push_back(make_nested_matmul(form, width, one, random));
          cases.push_back(make_nested_matmul(form, width, many, random));
          expect_cpus_bits(cases);
        }
        std::vector<MatmulCase> ends;
        MatmulShape shape{18, 3 * block, 6};
        ends.push_back(make_nested_matmul(form, width, shape, random, /*extreme=*/true));
        quantise_plainly(ends[0].input, 127);
        expect_cpus_bits(ends);
        if (HasFatalFailure()) return;
      }
    }
  });
}

TEST_F(GemmTest, MoreRowsThanATile) {
  std::mt19937 random(32);
  for (const TensorType type : {TensorType::kQ4_0, TensorType::kQ4_K, TensorType::kQ6_K}) {
    std::vector<MatmulCase> cases;
    cases.push_back(make_matmul(tensor_format(type), {30, 256, 70}, random));
    cases.push_back(make_matmul(
        tensor_format(type),
        {.rows = 66, .columns = 256, .n_rows = 64, .indexed = false, .biased = false}, random));
    expect_cpus_bits(cases);
  }
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kQ5_1}) {
    std::vector<MatmulCase> cases;
    cases.push_back(make_matmul(tensor_format(type),
                                {.rows = 66, .columns = 160, .n_rows = 70, .with_codes = false},
                                random));
    expect_cpus_bits(cases);
  }
}

TEST_F(GemmTest, LargestCodesDoNotOverflow) {
  std::mt19937 random(33);
  for (const TensorFormat& format : tensor_formats()) {
    if (!format.quantised()) continue;
    for (const int byte : {0xff, 0x80, 0x7f}) {
      std::vector<MatmulCase> cases;
      const MatmulShape shape{8, 512, 5};
      cases.push_back(make_matmul(format, shape, random));
      cases[0].owned = random_matrix(format, shape.rows, shape.columns, random, byte);
      cases[0].weight = cases[0].owned.matrix;
      quantise_plainly(cases[0].input, 127);
      expect_cpus_bits(cases);
    }
  }
}

TEST_F(GemmTest, RefusesWhatItCannotDo) {
  const ProductTask task;
  const auto refused = [&](const ProductLaunch& launch) {
    return cuda::launch_gemm(launch, &task, nullptr) == cudaErrorInvalidValue;
  };
  const ProductLaunch good{TensorType::kQ4_K, 512, 32, 1, 1};
  EXPECT_TRUE(cuda::has_gemm(good));
  ProductLaunch launch = good;
  launch.type = TensorType::kF16;  // not in 8 bits
  EXPECT_TRUE(refused(launch));
  launch = good;
  launch.columns = 512 + 32;
  EXPECT_TRUE(refused(launch));
  launch = good;
  launch.max_n_rows = kMaxGemmRows + 1;
  EXPECT_TRUE(refused(launch));
  launch = good;
  launch.shared_limit = 16 << 10;
  EXPECT_FALSE(cuda::has_gemm(launch)) << "a block does not fit";
  EXPECT_TRUE(refused(launch));
}

}  // namespace
}  // namespace sluice::testing

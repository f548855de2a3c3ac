// CudaOperations::matmul against the CPU's, bit for bit: on the CPU through the shim and, from the
// same source, on a device.

#include "cpu/cpu_compute.h"
#include "cuda/cuda_device.h"
#include "cuda/gemm.h"
#include "cuda/gemv.h"
#include "tests/cuda/matmul_case.h"

namespace sluice::testing {
namespace {

using cuda::kMaxGemmRows;
using cuda::kMaxGemvRows;

class MatmulTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    device_ = std::move(cuda::CudaDevice::open(0)).value();
    stream_ = device_->make_stream().value();
    compute_ = std::move(make_cpu_compute(1)).value();
  }

  Status multiply(std::span<const MatmulTask> tasks) {
    device_->operations(stream_).matmul(tasks);
    SLUICE_ASSIGN(const DeviceEvent event, device_->record(stream_));
    return device_->finish(event);
  }

  /// All in one call.
  void expect_cpus_bits(std::vector<MatmulCase>& cases) {
    std::vector<DeviceMatmul> there;
    std::vector<MatmulTask> tasks;
    for (const MatmulCase& of : cases) tasks.push_back(there.emplace_back(of).task);
    const Status status = multiply(tasks);
    ASSERT_TRUE(status.ok()) << status.message();
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const std::vector<float> want = cases[i].expected(*compute_), got = there[i].output();
      for (std::size_t at = 0; at < want.size(); ++at) {
        ASSERT_TRUE(same_bits(got[at], want[at]))
            << "product " << i << ", row " << at / cases[i].output_stride() << ", output "
            << at % cases[i].output_stride() << ": " << got[at] << ", not " << want[at];
      }
    }
  }

  std::unique_ptr<cuda::CudaDevice> device_;
  StreamIndex stream_ = 0;
  std::unique_ptr<Compute> compute_;
};

/// Few rows and many, of many types, where a kernel's rows end and beyond.
TEST_F(MatmulTest, TasksOfAllKindsTogether) {
  std::mt19937 random(41);
  std::vector<MatmulCase> cases;
  const auto add = [&](TensorType type, const MatmulShape& shape) {
    cases.push_back(make_matmul(tensor_format(type), shape, random));
  };
  for (const std::size_t n_rows :
       {std::size_t{0}, std::size_t{1}, std::size_t{kMaxGemvRows}, std::size_t{kMaxGemvRows} + 1,
        std::size_t{kMaxGemmRows}, std::size_t{kMaxGemmRows} + 1}) {
    add(TensorType::kQ4_0, {37, 96, n_rows});
    add(TensorType::kQ6_K, {.rows = 5, .columns = 512, .n_rows = n_rows, .indexed = false});
    add(TensorType::kBF16,
        {.rows = 19, .columns = 77, .n_rows = n_rows, .biased = false, .with_codes = false});
    add(TensorType::kQ8_0, {.rows = 33, .columns = 64, .n_rows = n_rows, .with_codes = false});
  }
  in_every_thread_order([&] { expect_cpus_bits(cases); });
  // What a plan was does not show in the next.
  std::vector<MatmulCase> fewer;
  fewer.push_back(make_matmul(tensor_format(TensorType::kQ4_0), {3, 32, 2}, random));
  expect_cpus_bits(fewer);
}

TEST_F(MatmulTest, RefusesWhatItCannotDoAndSaysWhy) {
  std::mt19937 random(42);
  const MatmulCase of = make_matmul(tensor_format(TensorType::kQ4_0), {8, 64, 2}, random);
  const DeviceMatmul there(of);
  MatmulTask task = there.task;
  task.weight.layout = WeightLayout::kStrips;
  const Status status = multiply({&task, 1});
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("weight matrix, Q4_0 of 8 x 64"), std::string::npos)
      << status.message();
  EXPECT_TRUE(multiply({&there.task, 1}).ok()) << "a refusal is not the end";
}

}  // namespace
}  // namespace sluice::testing

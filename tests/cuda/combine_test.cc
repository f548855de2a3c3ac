// The kernel that sums rows' experts against the CPU's, bit for bit: on the CPU through the shim
// and, from the same source, on a device.

#include "cuda/combine.h"

#include "tests/cpu/drawn_experts.h"
#include "tests/cuda/device_memory.h"

namespace sluice::testing {
namespace {

class CombineTest : public DeviceTest {};

TEST_F(CombineTest, AddsAsTheCpuDoes) {
  const auto compute = test::compute_with(test::available_isas().back(), 1);
  in_every_thread_order([&] {
    for (const auto& [rows, ranks, columns] : test::kExpertsShapes) {
      const test::DrawnExperts drawn(rows, ranks, columns);
      std::vector<float> want(rows * columns + 1, 5.0f);
      const DeviceArray<float> out{std::span<const float>(want)},
          outputs{std::span<const float>(drawn.outputs)},
          weights{std::span<const float>(drawn.weights)};
      const DeviceArray<std::uint32_t> places{std::span<const std::uint32_t>(drawn.places)};
      compute->combine(drawn.task(want.data()));
      CombineTask task = drawn.task(out.data());
      task.outputs = outputs.data();
      task.weights = weights.data();
      task.places = places.data();
      ASSERT_EQ(cuda::launch_combine(task, nullptr), cudaSuccess);
      const std::vector<float> got = out.download();
      for (std::size_t i = 0; i < want.size(); ++i) {
        ASSERT_TRUE(same_bits(got[i], want[i]))
            << rows << " rows, " << ranks << " ranks, " << columns << " columns: " << i;
      }
    }
  });
}

}  // namespace
}  // namespace sluice::testing

#include "cuda/upload_ring.h"

#include <algorithm>
#include <numeric>

#include "base/operations.h"
#include "tests/cuda/device_memory.h"

namespace sluice::testing {
namespace {

using cuda::UploadRing;

static_assert(UploadRing::kMost<AttentionRow> >= 4096);

class UploadRingTest : public DeviceTest {
 protected:
  template <typename T>
  static std::vector<T> read(const T* there, std::size_t count) {
    std::vector<T> values(count);
    EXPECT_EQ(cudaMemcpy(values.data(), there, count * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }
};

TEST_F(UploadRingTest, ArraysOfAnyTypeAreThereUntilTheirSlotsTurnComesAgain) {
  UploadRing ring;
  ASSERT_EQ(ring.create(), cudaSuccess);
  std::vector<std::uint32_t> numbers(UploadRing::kMost<std::uint32_t>);
  std::iota(numbers.begin(), numbers.end(), 1u);
  const std::vector<double> few = {1.5, -2.5, 3.5};
  for (std::size_t round = 0; round < 3; ++round) {
    const std::uint32_t* numbers_there = nullptr;
    ASSERT_EQ(ring.upload(nullptr, std::span<const std::uint32_t>(numbers), numbers_there),
              cudaSuccess);
    ASSERT_EQ(ring.close(nullptr), cudaSuccess);
    const double* few_there[UploadRing::kSlots - 1] = {};
    for (const double*& there : few_there) {
      ASSERT_EQ(ring.upload(nullptr, std::span<const double>(few), there), cudaSuccess);
      ASSERT_EQ(ring.close(nullptr), cudaSuccess);
    }
    EXPECT_EQ(read(numbers_there, numbers.size()), numbers);
    for (const double* there : few_there) EXPECT_EQ(read(there, few.size()), few);
    std::reverse(numbers.begin(), numbers.end());
  }
}

}  // namespace
}  // namespace sluice::testing

// The shim itself: what it promises about threads, warps and blocks.

#include "cuda/host_shim.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace sluice::cuda {
namespace {

void sum_block(const int* values, int* sums) {
  auto* const shared = reinterpret_cast<int*>(dynamic_shared());
  shared[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
    if (threadIdx.x < width) shared[threadIdx.x] += shared[threadIdx.x + width];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.y * gridDim.x + blockIdx.x] = shared[0];
}

TEST(HostShim, BlocksAndTheirThreads) {
  std::vector<int> values(3 * 128);
  std::iota(values.begin(), values.end(), 1);
  std::vector<int> sums(6);
  ASSERT_EQ(launch(sum_block, dim3{3, 2, 1}, dim3{128, 1, 1}, 128 * sizeof(int), nullptr,
                   values.data(), sums.data()),
            cudaSuccess);
  for (int block = 0; block < 6; ++block) {
    EXPECT_EQ(sums[block], 128 * (block % 3) * 128 + 128 * 129 / 2);
  }
}

void shuffle_often(unsigned* out) {
  unsigned value = threadIdx.x;
  for (unsigned turn = 0; turn < 5; ++turn) value = __shfl_sync(~0u, value, threadIdx.x + 1);
  out[threadIdx.x] = 100 * value + __shfl_xor_sync(~0u, threadIdx.x % 32, 5u);
}

TEST(HostShim, LanesTradeValuesWithinTheirWarp) {
  std::vector<unsigned> out(64);
  ASSERT_EQ(launch(shuffle_often, dim3{}, dim3{64, 1, 1}, 0, nullptr, out.data()), cudaSuccess);
  for (unsigned i = 0; i < 64; ++i) {
    EXPECT_EQ(out[i], 100 * (i / 32 * 32 + (i + 5) % 32) + ((i % 32) ^ 5));
  }
}

// What a device would do with either is undefined; the shim shows the first in one of its two
// orders and refuses the second.
void forget_barrier(int* out) {
  auto* const shared = reinterpret_cast<int*>(dynamic_shared());
  if (threadIdx.x == 0) shared[0] = 1;
  out[threadIdx.x] = shared[0];
}

TEST(HostShim, TheOtherOrderShowsAMissingBarrier) {
  std::vector<int> forward(32), reverse(32);
  ASSERT_EQ(launch(forget_barrier, dim3{}, dim3{32, 1, 1}, 4, nullptr, forward.data()),
            cudaSuccess);
  host_shim::set_reverse_order(true);
  ASSERT_EQ(launch(forget_barrier, dim3{}, dim3{32, 1, 1}, 4, nullptr, reverse.data()),
            cudaSuccess);
  host_shim::set_reverse_order(false);
  EXPECT_NE(forward, reverse);
}

void wait_apart() {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

TEST(HostShim, AWaitWithoutEndIsAFailedLaunch) {
  EXPECT_EQ(launch(wait_apart, dim3{}, dim3{32, 1, 1}, 0, nullptr), cudaErrorLaunchFailure);
  EXPECT_EQ(launch(wait_apart, dim3{}, dim3{31, 1, 1}, 0, nullptr), cudaErrorInvalidValue);
}

TEST(HostShim, ByteInstructions) {
  EXPECT_EQ(__dp4a(static_cast<int>(0x80ff7f01u), static_cast<int>(0x7f0280feu), 10),
            10 + 1 * -2 + 127 * -128 + -1 * 2 + -128 * 127);
  EXPECT_EQ(permute_bytes(0x33221100u, 0x77665544u, 0x7530u), 0x77553300u);
  EXPECT_EQ(__funnelshift_r(0x33221100u, 0x77665544u, 8), 0x44332211u);
  EXPECT_EQ(__funnelshift_r(0x33221100u, 0x77665544u, 0), 0x33221100u);
}

}  // namespace
}  // namespace sluice::cuda

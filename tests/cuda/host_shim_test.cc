// The shim itself: what it promises about threads, warps and blocks.

#include "cuda/host_shim.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
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

/// [16, kDepth] and [8, kDepth] signed bytes to [16, 8] sums, as PTX's manual lays out fragments of
/// mma.m16n8k16 and mma.m16n8k32: with group = lane / 4 and member = lane % 4, a's register r has
/// row group + 8 (r % 2), columns 16 (r / 2) + 4 member + [0, 4); b's register r has column group,
/// rows 16 r + 4 member + [0, 4); sum i is of row group + 8 (i / 2), column 2 member + i % 2.
template <int kDepth>
void multiply_matrices(const std::int8_t* a, const std::int8_t* b, int* sums) {
  const unsigned group = threadIdx.x / 4, member = threadIdx.x % 4;
  const auto word = [](const std::int8_t* at) {
    std::uint32_t four = 0;
    std::memcpy(&four, at, 4);
    return four;
  };
  std::uint32_t of_a[kDepth / 8], of_b[kDepth / 16];
  for (unsigned r = 0; r < kDepth / 8; ++r) {
    of_a[r] = word(a + (group + 8 * (r % 2)) * kDepth + 16 * (r / 2) + 4 * member);
  }
  for (unsigned r = 0; r < kDepth / 16; ++r)
    of_b[r] = word(b + group * kDepth + 16 * r + 4 * member);
  int of_lane[4] = {1, 2, 3, 4};
  multiply_bytes(of_lane, of_a, of_b);
  for (unsigned i = 0; i < 4; ++i) {
    sums[(group + 8 * (i / 2)) * 8 + 2 * member + i % 2] = of_lane[i] - static_cast<int>(i + 1);
  }
}

template <int kDepth>
void expect_product() {
  std::mt19937 random(kDepth);
  std::vector<std::int8_t> a(16 * kDepth), b(8 * kDepth);
  for (std::int8_t& byte : a) byte = static_cast<std::int8_t>(random() & 0xff);
  for (std::int8_t& byte : b) byte = static_cast<std::int8_t>(random() & 0xff);
  std::vector<int> sums(16 * 8);
  ASSERT_EQ(launch(multiply_matrices<kDepth>, dim3{}, dim3{32, 1, 1}, 0, nullptr, a.data(),
                   b.data(), sums.data()),
            cudaSuccess);
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 8; ++j) {
      int want = 0;
      for (std::size_t k = 0; k < kDepth; ++k) want += a[i * kDepth + k] * b[j * kDepth + k];
      EXPECT_EQ(sums[i * 8 + j], want) << kDepth << ": " << i << ", " << j;
    }
  }
}

TEST(HostShim, AWarpMultipliesBytes) {
  expect_product<16>();
  expect_product<32>();
}

void add_one(int* values) { ++values[threadIdx.x]; }

struct Captured {
  Captured() {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    EXPECT_EQ(cudaMallocHost(reinterpret_cast<void**>(&here), 32 * sizeof(int)), cudaSuccess);
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&there), 32 * sizeof(int)), cudaSuccess);
    std::fill_n(here, 32, 1);
  }
  ~Captured() {
    static_cast<void>(cudaFree(there));
    static_cast<void>(cudaFreeHost(here));
    static_cast<void>(cudaStreamDestroy(stream));
  }
  /// here = here + 1, by way of the device.
  void give() const {
    EXPECT_EQ(cudaMemcpyAsync(there, here, 32 * sizeof(int), cudaMemcpyHostToDevice, stream),
              cudaSuccess);
    EXPECT_EQ(launch(add_one, dim3{}, dim3{32, 1, 1}, 0, stream, there), cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(here, there, 32 * sizeof(int), cudaMemcpyDeviceToHost, stream),
              cudaSuccess);
  }

  cudaStream_t stream = nullptr;
  int *here = nullptr, *there = nullptr;
};

TEST(HostShim, WhatIsCapturedIsDoneWhenItsGraphIsLaunched) {
  host_shim::fail_call(0);
  const Captured test;
  ASSERT_EQ(cudaStreamBeginCapture(test.stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  test.give();
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(test.stream, &graph), cudaSuccess);
  EXPECT_EQ(test.here[31], 1);
  std::size_t before = 0, with = 0, after = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&before, &total), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiateWithFlags(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  ASSERT_EQ(cudaMemGetInfo(&with, &total), cudaSuccess);
  for (int launches = 1; launches < 4; ++launches) {
    ASSERT_EQ(cudaGraphLaunch(executable, test.stream), cudaSuccess);
    EXPECT_EQ(test.here[31], 1 + launches);
  }
  EXPECT_EQ(host_shim::graph_launches(), 3u);
  ASSERT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
  ASSERT_EQ(cudaMemGetInfo(&after, &total), cudaSuccess);
  EXPECT_LT(with, before);
  EXPECT_EQ(after, before);
}

TEST(HostShim, WhatWaitsAllocatesOrReadsPageableMemoryEndsACapture) {
  const Captured test;
  int pageable[32] = {};
  void* memory = nullptr;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaStreamSynchronize(test.stream); }, [&] { return cudaMalloc(&memory, 8); },
      [&] {
        return cudaMemcpyAsync(test.there, pageable, sizeof(pageable), cudaMemcpyHostToDevice,
                               test.stream);
      }};
  for (const auto& call : calls) {
    ASSERT_EQ(cudaStreamBeginCapture(test.stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    test.give();
    EXPECT_NE(call(), cudaSuccess);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(test.stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(test.here[0], 1);
  }
  test.give();
  EXPECT_EQ(test.here[0], 2) << "the stream is as it was";
}

}  // namespace
}  // namespace sluice::cuda

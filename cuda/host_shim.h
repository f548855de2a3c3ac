#pragma once
// CUDA's execution model on the CPU, so that the very kernels run in the ordinary tests: a block's
// threads are fibers of the calling thread, which switch where CUDA's threads would wait for each
// other. Blocks run one after another, launches at once; "device" memory is the heap, so a
// sanitizer sees every access out of bounds. It has what the kernels use and no more, under CUDA's
// own names; host_runtime.h has the calls of the host.
//
// A thread runs on until it waits, in the order of threadIdx or, after set_reverse_order, against
// it: results that differ between the two show a missing barrier. Shared memory starts as garbage.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "base/half.h"
#include "cuda/host_runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;

namespace sluice::cuda::host_shim {

/// Runs `body` as every thread of every block. cudaErrorLaunchFailure where threads wait for each
/// other for ever. REQUIRES: the block's size is a multiple of 32, at most 1024.
cudaError_t run_grid(dim3 grid, dim3 block, std::size_t shared_bytes,
                     const std::function<void()>& body);
void set_reverse_order(bool reverse);

// Called by the running thread.
unsigned char* shared_memory();
void wait_for_block();
void wait_for_warp();
inline constexpr unsigned kMostTraded = 6;
using Traded = std::uint32_t[kMostTraded];
/// What each lane of the warp gave, [32], until the lane's next call but one; all lanes call, with
/// at most kMostTraded words.
const Traded* trade(const std::uint32_t* words, unsigned count);

inline unsigned lane() { return threadIdx.x % 32; }

}  // namespace sluice::cuda::host_shim

inline void __syncthreads() { sluice::cuda::host_shim::wait_for_block(); }
inline void __syncwarp() { sluice::cuda::host_shim::wait_for_warp(); }

template <typename T>
T __shfl_sync(unsigned, T value, unsigned source) {
  static_assert(sizeof(T) == 4);
  const auto given = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<T>(sluice::cuda::host_shim::trade(&given, 1)[source % 32][0]);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, unsigned lane_mask) {
  return __shfl_sync(mask, value, sluice::cuda::host_shim::lane() ^ lane_mask);
}

inline int __dp4a(int a, int b, int sum) {
  for (int byte = 0; byte < 4; ++byte) {
    sum += static_cast<std::int8_t>(a >> 8 * byte) * static_cast<std::int8_t>(b >> 8 * byte);
  }
  return sum;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift & 31));
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyintf(value)); }
template <typename T>
T __ldg(const T* at) {
  return *at;
}

namespace sluice::cuda {

// The wrappers of device.cuh, on the CPU.
inline unsigned char* dynamic_shared() { return host_shim::shared_memory(); }
inline unsigned shared_address(const void* at) {
  return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(at));
}
inline std::uint32_t permute_bytes(std::uint32_t low, std::uint32_t high, std::uint32_t selector) {
  const std::uint64_t bytes = std::uint64_t{high} << 32 | low;
  std::uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const auto byte = static_cast<std::uint8_t>(bytes >> 8 * (selector >> 4 * i & 7));
    result |= std::uint32_t{byte} << 8 * i;
  }
  return result;
}
inline std::uint32_t opaque(std::uint32_t value) { return value; }
inline float half_bits_to_float(unsigned bits) {
  return half_to_float(static_cast<std::uint16_t>(bits));
}
inline unsigned float_to_half_bits(float value) { return float_to_half(value); }
inline void copy_async_16(unsigned char* to, const unsigned char* from) {
  std::memcpy(to, from, 16);
}
inline void copy_async_4(unsigned char* to, const unsigned char* from) { std::memcpy(to, from, 4); }
inline void commit_copies() {}
template <int kLeft>
void wait_for_copies() {}

template <std::size_t kWordsOfA, std::size_t kWordsOfB>
void multiply_bytes(int (&sums)[4], const std::uint32_t (&a)[kWordsOfA],
                    const std::uint32_t (&b)[kWordsOfB]) {
  static_assert(kWordsOfA == 2 * kWordsOfB);
  std::uint32_t words[host_shim::kMostTraded];
  std::copy_n(a, kWordsOfA, words);
  std::copy_n(b, kWordsOfB, words + kWordsOfA);
  const host_shim::Traded* const all = host_shim::trade(words, kWordsOfA + kWordsOfB);
  const unsigned i = host_shim::lane() / 4, j = host_shim::lane() % 4;
  for (unsigned sum = 0; sum < 4; ++sum) {
    const unsigned below = sum / 2, column = 2 * j + sum % 2;
    for (unsigned k = 0; k < 4 * kWordsOfB; ++k) {
      const std::uint32_t of_a = all[4 * i + k % 4][below + k / 4 * 2];
      const std::uint32_t of_b = all[4 * column + k % 4][kWordsOfA + k / 4];
      sums[sum] = __dp4a(static_cast<int>(of_a), static_cast<int>(of_b), sums[sum]);
    }
  }
}

template <typename... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, std::type_identity_t<Parameters>... arguments) {
  return host_shim::give(stream, [=] {
    return host_shim::run_grid(grid, block, shared_bytes, [&] { kernel(arguments...); });
  });
}

}  // namespace sluice::cuda

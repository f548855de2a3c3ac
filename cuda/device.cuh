#pragma once
// What kernels ask of the device beyond CUDA C++ itself: the only inline assembly. host_shim.h has
// the same functions for the CPU.

#include <cstdint>
#include <type_traits>

#include "cuda/runtime.h"

#ifndef SLUICE_CUDA_HOST_SHIM

namespace sluice::cuda {

/// The block's dynamic shared memory, 16-byte aligned.
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return reinterpret_cast<unsigned char*>(dynamic_shared_memory);
}

/// Where in shared memory a pointer into it points.
__device__ __forceinline__ unsigned shared_address(const void* at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

/// Four of the eight bytes of (low, high), each chosen by three bits of a nibble of `selector`'s
/// low half. __byte_perm is the same, but spends an instruction on clearing the fourth bits.
/// REQUIRES: they are clear.
__device__ __forceinline__ std::uint32_t permute_bytes(std::uint32_t low, std::uint32_t high,
                                                       std::uint32_t selector) {
  std::uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(high), "r"(selector));
  return result;
}

/// The same, of which the compiler knows nothing: what it computed of it before it need not keep.
__device__ __forceinline__ std::uint32_t opaque(std::uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}

/// A float16 given as the low 16 bits; exact.
__device__ __forceinline__ float half_bits_to_float(unsigned bits) {
  float value;
  asm("{ .reg .b16 half; cvt.u16.u32 half, %1; cvt.f32.f16 %0, half; }" : "=f"(value) : "r"(bits));
  return value;
}

/// A float as float16 in the low 16 bits, rounded to nearest even.
__device__ __forceinline__ unsigned float_to_half_bits(float value) {
  unsigned bits;
  asm("{ .reg .b16 half; cvt.rn.f16.f32 half, %1; cvt.u32.u16 %0, half; }"
      : "=r"(bits)
      : "f"(value));
  return bits;
}

/// Starts a copy of 16 bytes from global to shared memory. REQUIRES: both addresses are multiples
/// of 16.
__device__ __forceinline__ void copy_async_16(unsigned char* to, const unsigned char* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
#else
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
#endif
}

/// The same of 4 bytes, from and to multiples of 4.
__device__ __forceinline__ void copy_async_4(unsigned char* to, const unsigned char* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
#else
  *reinterpret_cast<std::uint32_t*>(to) = *reinterpret_cast<const std::uint32_t*>(from);
#endif
}

/// The copies that this thread started since the last call are one batch.
__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most kLeft of this thread's batches are under way.
template <int kLeft>
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

/// sums += a · b by a warp, a being 16 x 16 and b 16 x 8 signed bytes. Lane 4 i + j has columns
/// [4 j, 4 j + 4) of a's rows i and i + 8, rows [4 j, 4 j + 4) of b's column i, and the sums of
/// (i, 2 j), (i, 2 j + 1), (i + 8, 2 j), (i + 8, 2 j + 1).
__device__ __forceinline__ void multiply_bytes(int (&sums)[4], const std::uint32_t (&a)[2],
                                               const std::uint32_t (&b)[1]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
      "{%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
#else
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    asm volatile(
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(sums[2 * half]), "+r"(sums[2 * half + 1])
        : "r"(a[half]), "r"(b[0]));
  }
#endif
}

/// The same of 16 x 32 and 32 x 8: the words of the second 16 follow those of the first.
__device__ __forceinline__ void multiply_bytes(int (&sums)[4], const std::uint32_t (&a)[4],
                                               const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::uint32_t some_a[2] = {a[2 * half], a[2 * half + 1]}, some_b[1] = {b[half]};
    multiply_bytes(sums, some_a, some_b);
  }
#endif
}

/// kernel<<<grid, block, shared_bytes, stream>>>(arguments...), with as much shared memory as asked
/// for.
template <typename... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, std::type_identity_t<Parameters>... arguments) {
  constexpr std::size_t kAlwaysGranted = 48 << 10;
  if (shared_bytes > kAlwaysGranted) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  void* pointers[] = {&arguments...};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers,
                          shared_bytes, stream);
}

}  // namespace sluice::cuda

#endif

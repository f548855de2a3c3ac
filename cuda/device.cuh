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

/// A float16 given as the low 16 bits; exact.
__device__ __forceinline__ float half_bits_to_float(unsigned bits) {
  float value;
  asm("{ .reg .b16 half; cvt.u16.u32 half, %1; cvt.f32.f16 %0, half; }" : "=f"(value) : "r"(bits));
  return value;
}

/// Starts a copy of `bytes` <= 16 from global to shared memory and zeros what is left of the 16.
/// REQUIRES: both addresses are multiples of 16.
__device__ __forceinline__ void copy_async_16(unsigned char* to, const unsigned char* from,
                                              unsigned bytes) {
#if __CUDA_ARCH__ >= 800
  const auto shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(bytes)
               : "memory");
#else
  uint4 value = {0, 0, 0, 0};
  if (bytes == 16) {
    value = *reinterpret_cast<const uint4*>(from);
  } else {
    auto* const part = reinterpret_cast<unsigned char*>(&value);
    for (unsigned i = 0; i < bytes; ++i) part[i] = from[i];
  }
  *reinterpret_cast<uint4*>(to) = value;
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

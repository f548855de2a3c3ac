#pragma once
// Floats as files have them, in float32.

#include <cstdint>

#include "cuda/device.cuh"

namespace sluice::cuda {

__device__ __forceinline__ float to_float(float stored) { return stored; }

struct StoredHalfBits {
  std::uint16_t bits;
};
__device__ __forceinline__ float to_float(StoredHalfBits stored) {
  return half_bits_to_float(stored.bits);
}

struct StoredBf16Bits {
  std::uint16_t bits;
};
__device__ __forceinline__ float to_float(StoredBf16Bits stored) {
  return __uint_as_float(std::uint32_t{stored.bits} << 16);
}

}  // namespace sluice::cuda

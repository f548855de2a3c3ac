#pragma once
// canonical.h's rules 1 and 4 in device code, the same bits.

#include <cstdint>

#include "cuda/device.cuh"

namespace sluice::cuda {

__device__ __forceinline__ float canonical_exp(float x) {
  if (!(x >= -87.3f)) return x != x ? x : 0.0f;
  if (x > 88.7f) return __int_as_float(0x7f800000);
  const float n = rintf(x * 1.44269504088896341f);
  float r = fmaf(n, -0.693359375f, x);
  r = fmaf(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = fmaf(p, r, 1.3981999507e-3f);
  p = fmaf(p, r, 8.3334519073e-3f);
  p = fmaf(p, r, 4.1665795894e-2f);
  p = fmaf(p, r, 1.6666665459e-1f);
  p = fmaf(p, r, 5.0000001201e-1f);
  p = fmaf(p, r * r, r) + 1.0f;
  const int half = static_cast<int>(n) / 2;
  const int rest = static_cast<int>(n) - half;
  return p * __int_as_float((half + 127) << 23) * __int_as_float((rest + 127) << 23);
}

__device__ __forceinline__ float canonical_silu(float x) { return x / (1.0f + canonical_exp(-x)); }

/// Where rows of 8-bit activations are: codes `[rows, columns]`, scales `[rows, columns / 32]`,
/// sums of codes `[rows, columns / 16]`. A group is 32 consecutive elements of all rows.
///
/// A warp quantises one group; lane i holds element i.
__device__ __forceinline__ void quantise_group(float x, std::size_t group, std::int8_t* codes,
                                               float* scales, std::int16_t* sums) {
  const unsigned lane = threadIdx.x % 32;
  // Without their signs floats are in the order of their bits, and a NaN comes after infinity:
  // fmaxf would pass it over.
  int bits = __float_as_int(fabsf(x));
  for (unsigned mask = 16; mask > 0; mask /= 2) {
    const int other = __shfl_xor_sync(0xffffffffu, bits, mask);
    bits = other > bits ? other : bits;
  }
  const float amax = __int_as_float(bits);
  const float inverse = amax > 0.0f ? 127.0f / amax : 0.0f;
  // Where 127 / amax overflows, codes are clamped as on the CPU.
  const int code = __float2int_rn(fminf(fmaxf(x * inverse, -127.0f), 127.0f));
  int sum = code;
  for (unsigned mask = 8; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
  codes[group * 32 + lane] = static_cast<std::int8_t>(code);
  if (lane % 16 == 0) sums[group * 2 + lane / 16] = static_cast<std::int16_t>(sum);
  if (lane == 0) scales[group] = amax / 127.0f;
}

}  // namespace sluice::cuda

#pragma once
// canonical.h's rules 1 and 4 in device code, the same bits.

#include <cstdint>
#include <iterator>
#include <utility>

#include "base/canonical.h"
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

__device__ __forceinline__ float canonical_sigmoid(float x) {
  return 1.0f / (1.0f + canonical_exp(-x));
}

__device__ __forceinline__ float canonical_gelu_tanh(float x) {
  const float slope = fmaf(x * x, kGeluTanhCubic, kGeluTanhLinear);
  return x / (1.0f + canonical_exp(-(x * slope)));
}

// Device code sees a constant, but no array of the host's.
template <const auto& kArray, std::size_t kIndex>
inline constexpr float kCoefficient = kArray[kIndex];

/// The coefficient of the highest power comes first.
template <const auto& kArray, std::size_t... kIndices>
__device__ __forceinline__ float polynomial(float x, std::index_sequence<kIndices...>) {
  float p = kCoefficient<kArray, 0>;
  ((p = fmaf(p, x, kCoefficient<kArray, kIndices + 1>)), ...);
  return p;
}
template <const auto& kArray>
__device__ __forceinline__ float polynomial(float x) {
  return polynomial<kArray>(x, std::make_index_sequence<std::size(kArray) - 1>());
}

__device__ __forceinline__ float canonical_gelu(float x) {
  const float magnitude = fabsf(x);
  const float t = kGeluLast < magnitude ? kGeluLast : magnitude;
  const float y = 1.0f / fmaf(kGeluScale, t, 1.0f);
  const float p = polynomial<kGeluPolynomial>(y);
  const float half = 0.5f * t;
  const float square = half * t;
  const float lost = fmaf(half, t, -square);
  const float bell = canonical_exp(-square);
  const float tail = fmaf(-lost, bell, bell) * (p * y);
  return fmaf(-t, tail, 0.0f > x ? 0.0f : x);
}

__device__ __forceinline__ float canonical_softplus(float x) {
  const float w = canonical_exp(-fabsf(x));
  const float s = w / (2.0f + w);
  return fmaf(s, polynomial<kSoftplusPolynomial>(s * s), 0.0f > x ? 0.0f : x);
}

__device__ __forceinline__ float canonical_relu(float x) { return 0.0f > x ? 0.0f : x; }

__device__ __forceinline__ float canonical_clamped_swiglu(float gate, float up, float alpha,
                                                          float limit) {
  const float g = limit < gate ? limit : gate;
  const float below = limit < up ? limit : up;
  const float u = -limit > below ? -limit : below;
  return g / (1.0f + canonical_exp(-(alpha * g))) * (u + 1.0f);
}

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

#pragma once
// GGUF's ternary formats: one scale for 256 codes of -1, 0 and 1; see weight_units_32.cuh for what
// a unit is.

#include <cstdint>

#include "cuda/packed_words.cuh"
#include "cuda/weight_units_256.cuh"

namespace sluice::cuda {

// A unit is four groups of 32, whose pairs share 32 bytes.
struct TQ2_0Unit : Unit256<66, 32, 4, false, 1> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t pairs[8];
    load_words<8, kAlign>(block + 32 * unit, pairs);
    const float scale = load_half(block + 64);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      std::uint32_t codes[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) codes[i] = pairs_of(pairs[i], s);
      use(s, codes, scale, 0.0f);
    }
  }
};

/// Digit n of base 3 of four bytes, the highest first; `power` is 3^n. A byte's later digits are
/// what overflow leaves of its multiple.
__device__ __forceinline__ std::uint32_t ternary_digits(std::uint32_t bytes, std::uint32_t power) {
  const std::uint32_t even = (bytes & 0x00ff00ffu) * power & 0x00ff00ffu;
  const std::uint32_t odd = (bytes >> 8 & 0x00ff00ffu) * power & 0x00ff00ffu;
  return (even * 3 >> 8 & 0x00030003u) | (odd * 3 & 0x03000300u);
}

__device__ __forceinline__ std::uint32_t power_of_3(int n) {
  constexpr std::uint64_t kPowers = 0x511b090301;  // a byte each
  return static_cast<std::uint32_t>(kPowers >> 8 * n) & 0xff;
}

struct TQ1_0Unit : Unit256<54, 32, 1, false, 1> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t bytes[8], codes[8];
    if (unit < 5) {
      load_words<8, kAlign>(block, bytes);
#pragma unroll
      for (int i = 0; i < 8; ++i) codes[i] = ternary_digits(bytes[i], power_of_3(unit));
    } else {
      // The last 20 bytes: digits of sixteen elements each, and behind them of four.
      std::uint32_t last[5];
      load_words<5, kAlign>(block + 32, last);
      const int first = 2 * (unit - 5);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        codes[i] = ternary_digits(last[i], power_of_3(first));
        codes[4 + i] = first < 4 ? ternary_digits(last[i], power_of_3(first + 1))
                                 : ternary_digits(last[4], power_of_3(i));
      }
    }
    use(0, codes, load_half(block + 52), 0.0f);
  }
};

}  // namespace sluice::cuda

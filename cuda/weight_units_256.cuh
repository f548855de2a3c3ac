#pragma once
// The formats whose blocks are 256 elements in groups with small scales of their own; see
// weight_units_32.cuh for what a unit is. Units are chosen so that a thread uses every bit that it
// loads.

#include <cstdint>

#include "cuda/packed_words.cuh"
#include "cuda/weight_units_32.cuh"

namespace sluice::cuda {

template <int kBytesOfBlock, int kGroupOfCodes, int kGroupsInUnit, bool kWithMin, int kCodeOffset,
          bool kLookedUp = false>
struct Unit256 {
  static constexpr int kElements = 256, kBytes = kBytesOfBlock, kGroup = kGroupOfCodes;
  static constexpr int kUnitGroups = kGroupsInUnit, kGroupStep = 1;
  static constexpr bool kHasMin = kWithMin;
  static constexpr bool kInterleaved = kLookedUp;
  static constexpr int kOffset = kCodeOffset;
  static constexpr int kAlign = alignment_at(kBytes);
  static __device__ __forceinline__ int first_group(int unit) { return unit * kUnitGroups; }
};

__device__ __forceinline__ float as_float(std::uint32_t small) {
  return static_cast<float>(static_cast<int>(small));
}

/// Two-bit values of four elements: slice s of four that share bytes.
__device__ __forceinline__ std::uint32_t pairs_of(std::uint32_t word, int slice) {
  return word >> 2 * slice & 0x03030303u;
}

// Q2_K, Q3_K, Q6_K: a unit is four groups of 16, 32 elements apart: unit u holds elements
// 128 (u / 2) + 32 s + 16 (u % 2) + [0, 16) for s in 0..3, whose pairs share 16 bytes.
template <int kBytesOfBlock, bool kWithMin, int kCodeOffset>
struct PairsUnit : Unit256<kBytesOfBlock, 16, 4, kWithMin, kCodeOffset> {
  static constexpr int kGroupStep = 2;
  static __device__ __forceinline__ int first_group(int unit) { return 8 * (unit / 2) + unit % 2; }
};

struct Q2_KUnit : PairsUnit<84, true, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t pairs[4], halves[1];
    load_words<4, kAlign>(block + 16 + 16 * unit, pairs);
    load_words<1, kAlign>(block + 80, halves);
    const float scale = half_bits_to_float(halves[0] & 0xffff);
    const float min_scale = half_bits_to_float(halves[0] >> 16);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int group = first_group(unit) + kGroupStep * s;
      std::uint32_t codes[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) codes[i] = pairs_of(pairs[i], s);
      const unsigned scales = block[group];
      use(s, codes, scale * as_float(scales & 15), -(min_scale * as_float(scales >> 4)));
    }
  }
};

struct Q3_KUnit : PairsUnit<110, false, 4> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t pairs[4], high[4];
    load_words<4, kAlign>(block + 32 + 16 * unit, pairs);
    load_words<4, kAlign>(block + 16 * (unit % 2), high);
    const unsigned char* const scales = block + 96;
    const float scale = load_half(block + 108);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int group = first_group(unit) + kGroupStep * s;
      std::uint32_t codes[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        codes[i] = pairs_of(pairs[i], s) | (high[i] >> (4 * (unit / 2) + s) & 0x01010101u) << 2;
      }
      const int low = scales[group % 8] >> 4 * (group / 8) & 15;
      const int upper = scales[8 + group % 4] >> 2 * (group / 4) & 3;
      use(s, codes, scale * static_cast<float>((low | upper << 4) - 32), 0.0f);
    }
  }
};

struct Q6_KUnit : PairsUnit<210, false, 32> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    const int half = unit / 2, side = unit % 2;
    std::uint32_t packed[2][4], pairs[4];
    load_words<4, kAlign>(block + 64 * half + 16 * side, packed[0]);
    load_words<4, kAlign>(block + 64 * half + 32 + 16 * side, packed[1]);
    load_words<4, kAlign>(block + 128 + 16 * unit, pairs);
    const float scale = load_half(block + 208);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int group = first_group(unit) + kGroupStep * s;
      std::uint32_t codes[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        codes[i] = nibbles(packed[s % 2][i], 4 * (s / 2)) | pairs_of(pairs[i], s) << 4;
      }
      const int group_scale = static_cast<std::int8_t>(block[192 + group]);
      use(s, codes, scale * static_cast<float>(group_scale), 0.0f);
    }
  }
};

/// The first 16 bytes of a Q4_K or Q5_K block.
struct PackedHeader {
  std::uint32_t words[4];  // scale and min scale, then 12 bytes of PackedScales

  __device__ __forceinline__ float scale(int group) const {
    return half_bits_to_float(words[0] & 0xffff) * as_float(six_bits(words[1], group, 0));
  }
  __device__ __forceinline__ float min(int group) const {
    return -(half_bits_to_float(words[0] >> 16) * as_float(six_bits(words[2], group, 4)));
  }

 private:
  __device__ __forceinline__ std::uint32_t six_bits(std::uint32_t own, int group,
                                                    int nibble) const {
    const int byte = 8 * (group % 4);
    if (group < 4) return own >> byte & 63;
    return (words[3] >> (byte + nibble) & 15) | (own >> (byte + 6) & 3) << 4;
  }
};

// Q4_K, Q5_K: a unit is two groups of 32, which share bytes of nibbles.
struct Q4_KUnit : Unit256<144, 32, 2, true, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    PackedHeader header;
    std::uint32_t packed[8];
    load_words<4, kAlign>(block, header.words);
    load_words<8, kAlign>(block + 16 + 32 * unit, packed);
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      std::uint32_t codes[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) codes[i] = nibbles(packed[i], 4 * s);
      const int group = 2 * unit + s;
      use(s, codes, header.scale(group), header.min(group));
    }
  }
};

struct Q5_KUnit : Unit256<176, 32, 2, true, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    PackedHeader header;
    std::uint32_t fifth[8], packed[8];
    load_words<4, kAlign>(block, header.words);
    load_words<8, kAlign>(block + 16, fifth);
    load_words<8, kAlign>(block + 48 + 32 * unit, packed);
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const int group = 2 * unit + s;
      std::uint32_t codes[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        codes[i] = nibbles(packed[i], 4 * s) | (fifth[i] >> group & 0x01010101u) << 4;
      }
      use(s, codes, header.scale(group), header.min(group));
    }
  }
};

struct IQ4_XSUnit : Unit256<136, 32, 1, false, 0, true> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t header[2], packed[4], codes[8];
    load_words<2, kAlign>(block, header);
    load_words<4, kAlign>(block + 8 + 16 * unit, packed);
    look_up_32(iq4_values(), packed, codes);
    const auto low = static_cast<int>(header[1] >> 4 * unit & 15);
    const auto upper = static_cast<int>(header[0] >> (16 + 2 * unit) & 3);
    use(0, codes,
        half_bits_to_float(header[0] & 0xffff) * static_cast<float>((low | upper << 4) - 32), 0.0f);
  }
};

}  // namespace sluice::cuda

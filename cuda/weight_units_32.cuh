#pragma once
// The formats whose blocks are 32 elements under one scale, as device code. base/quant_blocks.h
// says how each packs a block.
//
// A format here is a *unit*: what one thread takes apart at once, a set of groups that share bytes.
//
//   kElements, kBytes        of a block
//   kGroup                   codes that share a scale: 16 or 32
//   kUnitGroups              groups in a unit; a block is kElements / (kGroup * kUnitGroups) units
//   kGroupStep               the unit's group s is group first_group(unit) + s * kGroupStep of the
//   block kHasMin kOffset                  what to take from each code handed out to get
//   tensor_format.h's unit(block, unit, use)   calls use(s, codes, scale, min) for each group s of
//   a unit; codes are four signed bytes
//                            a word. Reads at most the aligned words that the block touches.
//                            REQUIRES: blocks lie at multiples of kBytes from a multiple of 16.

#include <cstdint>

#include "cuda/packed_words.cuh"

namespace sluice::cuda {

/// Codes of 32 elements from 16 bytes of nibbles.
__device__ __forceinline__ void split_nibbles(const std::uint32_t* packed,
                                              std::uint32_t (&codes)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    codes[i] = nibbles(packed[i], 0);
    codes[4 + i] = nibbles(packed[i], 4);
  }
}

__device__ __forceinline__ void add_fifth_bits(std::uint32_t fifth, std::uint32_t (&codes)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) codes[i] |= spread_fifth_bits(fifth >> 4 * i);
}

/// What all formats here share: a block is a unit is a group.
template <int kBytesOfBlock, bool kWithMin, int kCodeOffset, bool kLookedUp = false>
struct Unit32 {
  static constexpr int kElements = 32, kBytes = kBytesOfBlock, kGroup = 32, kUnitGroups = 1;
  static constexpr int kGroupStep = 1;
  static constexpr bool kHasMin = kWithMin;
  static constexpr bool kInterleaved = kLookedUp;
  static constexpr int kOffset = kCodeOffset;
  static constexpr int kAlign = alignment_at(kBytes);
  static __device__ __forceinline__ int first_group(int) { return 0; }
};

struct Q4_0Unit : Unit32<18, false, 8> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t packed[4], codes[8];
    load_words<4, 2>(block + 2, packed);
    split_nibbles(packed, codes);
    use(0, codes, load_half(block), 0.0f);
  }
};

struct Q4_1Unit : Unit32<20, true, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t words[5], codes[8];
    load_words<5, kAlign>(block, words);
    split_nibbles(words + 1, codes);
    use(0, codes, half_bits_to_float(words[0] & 0xffff), half_bits_to_float(words[0] >> 16));
  }
};

struct Q5_0Unit : Unit32<22, false, 16> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t words[5], codes[8];
    load_words<5, 2>(block + 2, words);
    split_nibbles(words + 1, codes);
    add_fifth_bits(words[0], codes);
    use(0, codes, load_half(block), 0.0f);
  }
};

struct Q5_1Unit : Unit32<24, true, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t words[6], codes[8];
    load_words<6, kAlign>(block, words);
    split_nibbles(words + 2, codes);
    add_fifth_bits(words[1], codes);
    use(0, codes, half_bits_to_float(words[0] & 0xffff), half_bits_to_float(words[0] >> 16));
  }
};

struct Q8_0Unit : Unit32<34, false, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t codes[8];
    load_words<8, 2>(block + 2, codes);
    use(0, codes, load_half(block), 0.0f);
  }
};

/// kIq4Values of base/quant_blocks.h.
__device__ __forceinline__ ByteTable iq4_values() {
  return {{0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u}};
}

/// kFp4TwiceValues of base/quant_blocks.h.
__device__ __forceinline__ ByteTable fp4_twice_values() {
  return {{0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu}};
}

__device__ __forceinline__ void look_up_32(const ByteTable& table, const std::uint32_t (&packed)[4],
                                           std::uint32_t (&codes)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) look_up(table, packed[i], codes[i], codes[4 + i]);
}

struct IQ4_NLUnit : Unit32<18, false, 0, true> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t packed[4], codes[8];
    load_words<4, 2>(block + 2, packed);
    look_up_32(iq4_values(), packed, codes);
    use(0, codes, load_half(block), 0.0f);
  }
};

/// 2^(exponent - 128), also where that is subnormal.
__device__ __forceinline__ float mxfp4_scale(unsigned exponent) {
  return __uint_as_float(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
}

struct MXFP4Unit : Unit32<17, false, 0, true> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int, Use use) {
    std::uint32_t packed[4], codes[8];
    load_words<4, 1>(block + 1, packed);
    look_up_32(fp4_twice_values(), packed, codes);
    use(0, codes, mxfp4_scale(block[0]), 0.0f);
  }
};

}  // namespace sluice::cuda

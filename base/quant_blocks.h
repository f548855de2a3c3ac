#pragma once
// How quantised formats pack a block, byte for byte (those with codebooks are in
// codebook_blocks.h), and how a block comes apart into codes, scales and mins.
//
// The structs are made of bytes alone, so a block may lie at any address. Multi-byte fields are
// little-endian, as are the machines that Sluice runs on. Natural order is the order of the row's
// elements; the comments say where element i is.

#include <cstddef>
#include <cstdint>

#include "base/half.h"

namespace sluice {

/// A float16 as it lies in a block.
struct StoredHalf {
  std::uint8_t bytes[2];
  float value() const {
    return half_to_float(static_cast<std::uint16_t>(bytes[0] | (bytes[1] << 8)));
  }
};

/// 4-bit codes of the two non-linear formats stand for these.
inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
/// Twice the values of e2m1: OCP Microscaling's FP4 times two is a small integer.
inline constexpr std::int8_t kFp4TwiceValues[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                    0, -1, -2, -3, -4, -6, -8, -12};
/// The same in their order, the zero with a sign before the one without.
inline constexpr std::int8_t kFp4RankedValues[16] = {-12, -8, -6, -4, -3, -2, -1, 0,
                                                     0,   1,  2,  3,  4,  6,  8,  12};

// Blocks of 32: one scale, and in the "_1" formats one minimum, for all. Nibbles: element i < 16 is
// the low half of byte i, element i + 16 its high half. Fifth bits: bit i of the little-endian
// word.

struct Q4_0Block {  // code = nibble - 8
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t nibbles[16];
};

struct Q4_1Block {  // code = nibble
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = true;
  StoredHalf scale, min;
  std::uint8_t nibbles[16];
};

struct Q5_0Block {  // code = nibble + 16 * fifth bit - 16
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t fifth_bits[4];
  std::uint8_t nibbles[16];
};

struct Q5_1Block {  // code = nibble + 16 * fifth bit
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = true;
  StoredHalf scale, min;
  std::uint8_t fifth_bits[4];
  std::uint8_t nibbles[16];
};

struct Q8_0Block {
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::int8_t codes[32];
};

struct IQ4_NLBlock {  // code = kIq4Values[nibble]
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t nibbles[16];
};

struct MXFP4Block {  // code = kFp4TwiceValues[nibble], scale = 2^(exponent - 128)
  static constexpr std::uint32_t kElements = 32, kGroup = 32;
  static constexpr bool kHasMin = false;
  std::uint8_t exponent;
  std::uint8_t nibbles[16];
};

// Super-blocks of 256: the groups' scales are small integers times a half of the block; mins are
// subtracted.

/// The 6-bit scales and mins of eight groups, as Q4_K and Q5_K pack them: bytes 0-3 hold the low
/// six bits of scales 0-3, bytes 4-7 those of mins 0-3; byte 8 + j holds the low four bits of scale
/// 4 + j and, above them, of min 4 + j, whose upper two bits are the upper two of bytes j and 4 +
/// j.
struct PackedScales {
  std::uint8_t bytes[12];
};

struct Q2_KBlock {  // code = two bits; scale = scale * low nibble, min = -(min_scale * high nibble)
  static constexpr std::uint32_t kElements = 256, kGroup = 16;
  static constexpr bool kHasMin = true;
  std::uint8_t group_scales[16];
  std::uint8_t pairs[64];  // element 128h + 32s + i is at bit 2s of byte 32h + i
  StoredHalf scale, min_scale;
};

struct Q3_KBlock {  // code = two bits - (high bit ? 0 : 4); scale = scale * (six bits - 32)
  static constexpr std::uint32_t kElements = 256, kGroup = 16;
  static constexpr bool kHasMin = false;
  std::uint8_t high_bits[32];     // element 32s + i is at bit s of byte i
  std::uint8_t pairs[64];         // as in Q2_K
  std::uint8_t group_scales[12];  // group j: low four bits in nibble j / 8 of byte j % 8,
                                  // upper two at bit 2(j / 4) of byte 8 + j % 4
  StoredHalf scale;
};

struct Q4_KBlock {  // code = nibble
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = true;
  StoredHalf scale, min_scale;
  PackedScales group_scales;
  std::uint8_t nibbles[128];  // element 64c + 32s + i is nibble s of byte 32c + i
};

struct Q5_KBlock {  // code = nibble + 16 * fifth bit
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = true;
  StoredHalf scale, min_scale;
  PackedScales group_scales;
  std::uint8_t fifth_bits[32];  // element 32s + i is at bit s of byte i
  std::uint8_t nibbles[128];    // as in Q4_K
};

struct Q6_KBlock {  // code = nibble + 16 * pair - 32; scale = scale * group scale
  static constexpr std::uint32_t kElements = 256, kGroup = 16;
  static constexpr bool kHasMin = false;
  std::uint8_t nibbles[128];  // element 128h + 64s + i is nibble s of byte 64h + i
  std::uint8_t pairs[64];     // as in Q2_K
  std::int8_t group_scales[16];
  StoredHalf scale;
};

struct IQ4_XSBlock {  // code = kIq4Values[nibble]; scale = scale * (six bits - 32)
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t scales_high[2];  // upper two bits of group g: at bit 2g of the little-endian word
  std::uint8_t scales_low[4];   // low four bits of group g: nibble g % 2 of byte g / 2
  std::uint8_t nibbles[128];    // element 32g + 16s + i is nibble s of byte 16g + i
};

// Ternary: one scale for a whole block.

struct TQ1_0Block {  // code = digit - 1; digits of base 3, the highest first, are those of byte /
                     // 256
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  // Element e < 160 is digit e / 32 of byte e % 32; element 160 + e, e < 80, digit e / 16 of byte
  // 32
  // + e % 16; element 240 + e digit e / 4 of byte 48 + e % 4.
  std::uint8_t digits[52];
  StoredHalf scale;
};

struct TQ2_0Block {  // code = two bits - 1
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  std::uint8_t pairs[64];  // as in Q2_K
  StoredHalf scale;
};

static_assert(sizeof(Q4_0Block) == 18 && sizeof(Q4_1Block) == 20 && sizeof(Q5_0Block) == 22 &&
              sizeof(Q5_1Block) == 24 && sizeof(Q8_0Block) == 34 && sizeof(IQ4_NLBlock) == 18 &&
              sizeof(MXFP4Block) == 17 && sizeof(Q2_KBlock) == 84 && sizeof(Q3_KBlock) == 110 &&
              sizeof(Q4_KBlock) == 144 && sizeof(Q5_KBlock) == 176 && sizeof(Q6_KBlock) == 210 &&
              sizeof(IQ4_XSBlock) == 136 && sizeof(TQ1_0Block) == 54 && sizeof(TQ2_0Block) == 66);

// One block → codes `[kElements]` in natural order, scales and mins `[kElements / kGroup]`; mins
// are zero where the format has none. Total: any bytes are a block.
void unpack(const Q4_0Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q4_1Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q5_0Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q5_1Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q8_0Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ4_NLBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const MXFP4Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q2_KBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q3_KBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q4_KBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q5_KBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const Q6_KBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ4_XSBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const TQ1_0Block& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const TQ2_0Block& block, std::int8_t* codes, float* scales, float* mins);

}  // namespace sluice

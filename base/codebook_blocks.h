#pragma once
// The blocks of GGUF's IQ1, IQ2 and IQ3 formats, as base/quant_blocks.h has the others:
// super-blocks of 256 whose codes come from a codebook (base/codebooks.h), in runs of eight or four
// elements.
//
// Where only seven signs of eight are stored, the eighth makes the number of minus signs even. Bits
// are counted in little-endian words. A group's scale is the block's half times an odd number made
// of a few bits, times the power of two that turns the format's fractions into whole numbers.

#include <cstddef>
#include <cstdint>

#include "base/quant_blocks.h"

namespace sluice {

struct IQ2_XXSBlock {  // code = ± codebook; scale = scale * (2 * four bits + 1) / 8
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  struct {
    std::uint8_t indices[4];
    std::uint8_t signs_and_scale[4];  // seven signs of run r at bit 7r, the group's scale at bit 28
  } groups[8];
};

struct IQ2_XSBlock {  // code = ± codebook; scale = scale * (2 * four bits + 1) / 8
  static constexpr std::uint32_t kElements = 256, kGroup = 16;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t runs[32][2];      // of eight: nine bits of index, then seven signs
  std::uint8_t group_scales[8];  // group g: nibble g % 2 of byte g / 2
};

struct IQ2_SBlock {  // code = ± codebook; scale = scale * (2 * four bits + 1) / 8
  static constexpr std::uint32_t kElements = 256, kGroup = 16;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t indices_low[32];
  std::uint8_t signs[32];        // element 8b + i: bit i of byte b
  std::uint8_t indices_high[8];  // upper two bits of run r: at bit 2(r % 4) of byte r / 4
  std::uint8_t group_scales[8];  // as in IQ2_XS
};

struct IQ3_XXSBlock {  // code = ± codebook; scale = scale * (2 * four bits + 1) / 4
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t indices[64];            // of runs of four
  std::uint8_t signs_and_scale[8][4];  // as in IQ2_XXS, of eight elements each
};

struct IQ3_SBlock {  // code = ± codebook; scale = scale * (2 * four bits + 1)
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t indices_low[64];  // of runs of four
  std::uint8_t indices_high[8];  // ninth bit of run r: bit r % 8 of byte r / 8
  std::uint8_t signs[32];        // as in IQ2_S
  std::uint8_t group_scales[4];  // as in IQ2_XS
};

struct IQ1_SBlock {  // code = codebook or two less; scale = scale * (2 * three bits + 1) / 8
  static constexpr std::uint32_t kElements = 256, kGroup = 32;
  static constexpr bool kHasMin = false;
  StoredHalf scale;
  std::uint8_t indices_low[32];  // of runs of eight
  std::uint8_t groups[8][2];  // upper three bits of the group's run r at bit 3r, its scale at bit
                              // 12, at bit 15 whether the group has two less
};

struct IQ1_MBlock {  // code = codebook or two less; scale = scale * (2 * three bits + 1) / 8
  static constexpr std::uint32_t kElements = 256, kGroup = 16;
  static constexpr bool kHasMin = false;
  std::uint8_t indices_low[32];  // of runs of eight
  std::uint8_t runs[16];      // run r: nibble r % 2 of byte r / 2; upper three bits of its index,
                              // then whether it has two less
  std::uint8_t scales[4][2];  // group g: at bit 3(g % 4) of pair g / 4; above these, at bit 12,
                              // pair p has nibble p of the block's half
};

static_assert(sizeof(IQ2_XXSBlock) == 66 && sizeof(IQ2_XSBlock) == 74 && sizeof(IQ2_SBlock) == 82 &&
              sizeof(IQ3_XXSBlock) == 98 && sizeof(IQ3_SBlock) == 110 && sizeof(IQ1_SBlock) == 50 &&
              sizeof(IQ1_MBlock) == 56);

// As in quant_blocks.h.
void unpack(const IQ2_XXSBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ2_XSBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ2_SBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ3_XXSBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ3_SBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ1_SBlock& block, std::int8_t* codes, float* scales, float* mins);
void unpack(const IQ1_MBlock& block, std::int8_t* codes, float* scales, float* mins);

}  // namespace sluice

#include "base/codebook_blocks.h"

#include <algorithm>
#include <bit>

#include "base/codebooks.h"

namespace sluice {
namespace {

unsigned word_16(const std::uint8_t (&bytes)[2]) { return bytes[0] | unsigned{bytes[1]} << 8; }
std::uint32_t word_32(const std::uint8_t (&bytes)[4]) {
  return bytes[0] | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 |
         std::uint32_t{bytes[3]} << 24;
}

/// Nibble `index` of an array of bytes, the low half of each first.
template <std::size_t kBytes>
unsigned nibble(const std::uint8_t (&bytes)[kBytes], int index) {
  return bytes[index / 2] >> (4 * (index % 2)) & 15u;
}

/// The eighth sign makes their number even.
unsigned eight_signs(unsigned seven) {
  return seven | static_cast<unsigned>(std::popcount(seven) & 1) << 7;
}

/// The codes of a run; bit i of `signs` is element i's.
template <typename Entry>
void put_signed(Entry magnitudes, unsigned signs, std::int8_t* codes) {
  for (std::size_t i = 0; i < sizeof(Entry); ++i) {
    const auto magnitude = static_cast<int>(magnitudes >> (8 * i) & 255);
    codes[i] = static_cast<std::int8_t>(signs >> i & 1 ? -magnitude : magnitude);
  }
}

void put_iq1(unsigned index, bool two_less, std::int8_t* codes) {
  for (int i = 0; i < 8; ++i) {
    const auto byte = static_cast<int>(kIq1Codebook.entries[index] >> (8 * i) & 255);
    codes[i] = static_cast<std::int8_t>(byte - kIq1Offset - (two_less ? 2 : 0));
  }
}

float odd_multiple(float scale, unsigned bits) { return scale * static_cast<float>(2 * bits + 1); }

template <typename Block>
void no_mins(const Block&, float* mins) {
  std::fill_n(mins, Block::kElements / Block::kGroup, 0.0f);
}

}  // namespace

void unpack(const IQ2_XXSBlock& block, std::int8_t* codes, float* scales, float* mins) {
  const float scale = block.scale.value() * 0.125f;
  for (int group = 0; group < 8; ++group) {
    const std::uint32_t signs = word_32(block.groups[group].signs_and_scale);
    for (int run = 0; run < 4; ++run) {
      put_signed(kIq2XxsCodebook.entries[block.groups[group].indices[run]],
                 eight_signs(signs >> (7 * run) & 127), codes + 32 * group + 8 * run);
    }
    scales[group] = odd_multiple(scale, signs >> 28);
  }
  no_mins(block, mins);
}

void unpack(const IQ2_XSBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int run = 0; run < 32; ++run) {
    const unsigned bits = word_16(block.runs[run]);
    put_signed(kIq2XsCodebook.entries[bits & 511], eight_signs(bits >> 9), codes + 8 * run);
  }
  const float scale = block.scale.value() * 0.125f;
  for (int group = 0; group < 16; ++group) {
    scales[group] = odd_multiple(scale, nibble(block.group_scales, group));
  }
  no_mins(block, mins);
}

void unpack(const IQ2_SBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int run = 0; run < 32; ++run) {
    const unsigned high = block.indices_high[run / 4] >> (2 * (run % 4)) & 3u;
    put_signed(kIq2SCodebook.entries[block.indices_low[run] | high << 8], block.signs[run],
               codes + 8 * run);
  }
  const float scale = block.scale.value() * 0.125f;
  for (int group = 0; group < 16; ++group) {
    scales[group] = odd_multiple(scale, nibble(block.group_scales, group));
  }
  no_mins(block, mins);
}

void unpack(const IQ3_XXSBlock& block, std::int8_t* codes, float* scales, float* mins) {
  const float scale = block.scale.value() * 0.25f;
  for (int group = 0; group < 8; ++group) {
    const std::uint32_t bits = word_32(block.signs_and_scale[group]);
    for (int run = 0; run < 8; ++run) {
      const unsigned signs = eight_signs(bits >> (7 * (run / 2)) & 127);
      put_signed(kIq3XxsCodebook.entries[block.indices[8 * group + run]], signs >> (4 * (run % 2)),
                 codes + 32 * group + 4 * run);
    }
    scales[group] = odd_multiple(scale, bits >> 28);
  }
  no_mins(block, mins);
}

void unpack(const IQ3_SBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int run = 0; run < 64; ++run) {
    const unsigned high = block.indices_high[run / 8] >> (run % 8) & 1u;
    put_signed(kIq3SCodebook.entries[block.indices_low[run] | high << 8], nibble(block.signs, run),
               codes + 4 * run);
  }
  const float scale = block.scale.value();
  for (int group = 0; group < 8; ++group) {
    scales[group] = odd_multiple(scale, nibble(block.group_scales, group));
  }
  no_mins(block, mins);
}

void unpack(const IQ1_SBlock& block, std::int8_t* codes, float* scales, float* mins) {
  const float scale = block.scale.value() * 0.125f;
  for (int group = 0; group < 8; ++group) {
    const unsigned bits = word_16(block.groups[group]);
    for (int run = 0; run < 4; ++run) {
      const unsigned high = bits >> (3 * run) & 7;
      put_iq1(block.indices_low[4 * group + run] | high << 8, bits >> 15 != 0,
              codes + 32 * group + 8 * run);
    }
    scales[group] = odd_multiple(scale, bits >> 12 & 7);
  }
  no_mins(block, mins);
}

void unpack(const IQ1_MBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int run = 0; run < 32; ++run) {
    const unsigned bits = nibble(block.runs, run);
    put_iq1(block.indices_low[run] | (bits & 7) << 8, bits >> 3 != 0, codes + 8 * run);
  }
  unsigned half = 0;
  for (int pair = 0; pair < 4; ++pair) half |= word_16(block.scales[pair]) >> 12 << (4 * pair);
  const float scale = half_to_float(static_cast<std::uint16_t>(half)) * 0.125f;
  for (int group = 0; group < 16; ++group) {
    scales[group] = odd_multiple(scale, word_16(block.scales[group / 4]) >> (3 * (group % 4)) & 7);
  }
  no_mins(block, mins);
}

}  // namespace sluice

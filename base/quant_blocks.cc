#include "base/quant_blocks.h"

#include <algorithm>
#include <bit>

namespace sluice {
namespace {

std::int8_t code(int value) { return static_cast<std::int8_t>(value); }

std::uint32_t little_endian_word(const std::uint8_t (&bytes)[4]) {
  return bytes[0] | (std::uint32_t{bytes[1]} << 8) | (std::uint32_t{bytes[2]} << 16) |
         (std::uint32_t{bytes[3]} << 24);
}

// `count` bytes hold 2 * count codes: first the low nibbles', then the high ones'.
template <typename Meaning>
void unpack_nibbles(const std::uint8_t* bytes, int count, std::int8_t* codes, Meaning meaning) {
  for (int i = 0; i < count; ++i) {
    codes[i] = code(meaning(bytes[i] & 15));
    codes[count + i] = code(meaning(bytes[i] >> 4));
  }
}

// 256 two-bit values, as every K format that has them lays them out; each is handed to
// `use(element, pair)`.
template <typename Use>
void for_each_pair(const std::uint8_t (&pairs)[64], Use use) {
  for (int half = 0; half < 2; ++half) {
    for (int shift = 0; shift < 4; ++shift) {
      for (int i = 0; i < 32; ++i) {
        use(128 * half + 32 * shift + i, (pairs[32 * half + i] >> (2 * shift)) & 3);
      }
    }
  }
}

void unpack_packed_scales(const PackedScales& packed, float scale, float min_scale, float* scales,
                          float* mins) {
  const std::uint8_t* bytes = packed.bytes;
  for (int j = 0; j < 4; ++j) {
    scales[j] = scale * static_cast<float>(bytes[j] & 63);
    mins[j] = -(min_scale * static_cast<float>(bytes[4 + j] & 63));
    const int high_scale = (bytes[8 + j] & 15) | ((bytes[j] >> 6) << 4);
    const int high_min = (bytes[8 + j] >> 4) | ((bytes[4 + j] >> 6) << 4);
    scales[4 + j] = scale * static_cast<float>(high_scale);
    mins[4 + j] = -(min_scale * static_cast<float>(high_min));
  }
}

}  // namespace

void unpack(const Q4_0Block& block, std::int8_t* codes, float* scales, float* mins) {
  unpack_nibbles(block.nibbles, 16, codes, [](int nibble) { return nibble - 8; });
  scales[0] = block.scale.value();
  mins[0] = 0.0f;
}

void unpack(const Q4_1Block& block, std::int8_t* codes, float* scales, float* mins) {
  unpack_nibbles(block.nibbles, 16, codes, [](int nibble) { return nibble; });
  scales[0] = block.scale.value();
  mins[0] = block.min.value();
}

void unpack(const Q5_0Block& block, std::int8_t* codes, float* scales, float* mins) {
  unpack_nibbles(block.nibbles, 16, codes, [](int nibble) { return nibble - 16; });
  const std::uint32_t fifth = little_endian_word(block.fifth_bits);
  for (int i = 0; i < 32; ++i) codes[i] = code(codes[i] + (fifth >> i & 1 ? 16 : 0));
  scales[0] = block.scale.value();
  mins[0] = 0.0f;
}

void unpack(const Q5_1Block& block, std::int8_t* codes, float* scales, float* mins) {
  unpack_nibbles(block.nibbles, 16, codes, [](int nibble) { return nibble; });
  const std::uint32_t fifth = little_endian_word(block.fifth_bits);
  for (int i = 0; i < 32; ++i) codes[i] = code(codes[i] + (fifth >> i & 1 ? 16 : 0));
  scales[0] = block.scale.value();
  mins[0] = block.min.value();
}

void unpack(const Q8_0Block& block, std::int8_t* codes, float* scales, float* mins) {
  std::copy_n(block.codes, 32, codes);
  scales[0] = block.scale.value();
  mins[0] = 0.0f;
}

void unpack(const IQ4_NLBlock& block, std::int8_t* codes, float* scales, float* mins) {
  unpack_nibbles(block.nibbles, 16, codes, [](int nibble) { return kIq4Values[nibble]; });
  scales[0] = block.scale.value();
  mins[0] = 0.0f;
}

void unpack(const MXFP4Block& block, std::int8_t* codes, float* scales, float* mins) {
  unpack_nibbles(block.nibbles, 16, codes, [](int nibble) { return kFp4TwiceValues[nibble]; });
  // 2^(exponent - 128): half of what E8M0 says, because the codes are doubled. The two smallest are
  // subnormal.
  const std::uint32_t exponent = block.exponent;
  scales[0] = std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
  mins[0] = 0.0f;
}

void unpack(const Q2_KBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for_each_pair(block.pairs, [&](int element, int pair) { codes[element] = code(pair); });
  const float scale = block.scale.value();
  const float min_scale = block.min_scale.value();
  for (int j = 0; j < 16; ++j) {
    scales[j] = scale * static_cast<float>(block.group_scales[j] & 15);
    mins[j] = -(min_scale * static_cast<float>(block.group_scales[j] >> 4));
  }
}

void unpack(const Q3_KBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for_each_pair(block.pairs, [&](int element, int pair) {
    const int high = block.high_bits[element % 32] >> (element / 32) & 1;
    codes[element] = code(pair + 4 * high - 4);
  });
  const float scale = block.scale.value();
  for (int j = 0; j < 16; ++j) {
    const int low = block.group_scales[j % 8] >> (4 * (j / 8)) & 15;
    const int high = block.group_scales[8 + j % 4] >> (2 * (j / 4)) & 3;
    scales[j] = scale * static_cast<float>((low | high << 4) - 32);
    mins[j] = 0.0f;
  }
}

void unpack(const Q4_KBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int chunk = 0; chunk < 4; ++chunk) {
    unpack_nibbles(block.nibbles + 32 * chunk, 32, codes + 64 * chunk,
                   [](int nibble) { return nibble; });
  }
  unpack_packed_scales(block.group_scales, block.scale.value(), block.min_scale.value(), scales,
                       mins);
}

void unpack(const Q5_KBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int chunk = 0; chunk < 4; ++chunk) {
    unpack_nibbles(block.nibbles + 32 * chunk, 32, codes + 64 * chunk,
                   [](int nibble) { return nibble; });
  }
  for (int group = 0; group < 8; ++group) {
    std::int8_t* group_codes = codes + 32 * group;
    for (int i = 0; i < 32; ++i) {
      group_codes[i] = code(group_codes[i] + ((block.fifth_bits[i] >> group & 1) << 4));
    }
  }
  unpack_packed_scales(block.group_scales, block.scale.value(), block.min_scale.value(), scales,
                       mins);
}

void unpack(const Q6_KBlock& block, std::int8_t* codes, float* scales, float* mins) {
  for (int half = 0; half < 2; ++half) {
    unpack_nibbles(block.nibbles + 64 * half, 64, codes + 128 * half,
                   [](int nibble) { return nibble - 32; });
  }
  for_each_pair(block.pairs, [&](int element, int pair) {
    codes[element] = code(codes[element] + (pair << 4));
  });
  const float scale = block.scale.value();
  for (int j = 0; j < 16; ++j) {
    scales[j] = scale * static_cast<float>(block.group_scales[j]);
    mins[j] = 0.0f;
  }
}

void unpack(const IQ4_XSBlock& block, std::int8_t* codes, float* scales, float* mins) {
  const float scale = block.scale.value();
  const int all_high = block.scales_high[0] | block.scales_high[1] << 8;
  for (int group = 0; group < 8; ++group) {
    unpack_nibbles(block.nibbles + 16 * group, 16, codes + 32 * group,
                   [](int nibble) { return kIq4Values[nibble]; });
    const int low = block.scales_low[group / 2] >> (4 * (group % 2)) & 15;
    const int high = all_high >> (2 * group) & 3;
    scales[group] = scale * static_cast<float>((low | high << 4) - 32);
    mins[group] = 0.0f;
  }
}

void unpack(const TQ1_0Block& block, std::int8_t* codes, float* scales, float* mins) {
  const auto put = [&](int first_byte, int bytes, int digits) {
    for (int digit = 0, power = 1; digit < digits; ++digit, power *= 3) {
      for (int i = 0; i < bytes; ++i) {
        // The fraction byte / 256 times a power of three: its next digit stands before the point.
        const int fraction = block.digits[first_byte + i] * power & 255;
        *codes++ = code((fraction * 3 >> 8) - 1);
      }
    }
  };
  put(0, 32, 5);
  put(32, 16, 5);
  put(48, 4, 4);
  std::fill_n(scales, 8, block.scale.value());
  std::fill_n(mins, 8, 0.0f);
}

void unpack(const TQ2_0Block& block, std::int8_t* codes, float* scales, float* mins) {
  for_each_pair(block.pairs, [&](int element, int pair) { codes[element] = code(pair - 1); });
  std::fill_n(scales, 8, block.scale.value());
  std::fill_n(mins, 8, 0.0f);
}

}  // namespace sluice

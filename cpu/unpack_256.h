#pragma once
// Unpacking of the formats whose blocks have 256 codes, with AVX2 and up (see unpack_32.h).

#include "cpu/unpack_32.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Runs `unpack_block(block, at, scales, mins)` over a segment's one or two blocks; `at` is where
/// the block's codes begin.
template <typename Block, typename Elements, typename UnpackBlock>
inline void for_each_block(const std::byte* blocks, Elements elements, float* scales, float* mins,
                           const UnpackBlock& unpack_block) {
  const auto* block = reinterpret_cast<const Block*>(blocks);
  constexpr std::size_t kGroups = 256 / Block::kGroup;
  unpack_block(block[0], 0, scales, mins);
  if (elements > 256) unpack_block(block[1], 256, scales + kGroups, mins + kGroups);
}

/// In one piece where registers are that wide: a load of 64 bytes cannot be served by two stores
/// that are still under way.
inline void store_64_bytes(std::uint8_t* p, __m256i first, __m256i second) {
#if SLUICE_ISA_LEVEL >= 2
  _mm512_storeu_si512(p, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
#else
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), first);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), second);
#endif
}

inline __m256 broadcast_half(const StoredHalf& half) {
  return _mm256_set1_ps(load_half(reinterpret_cast<const std::byte*>(half.bytes)));
}
/// The low eight bytes, unsigned, times `scale`.
inline void store_scaled_unsigned(float* out, __m128i bytes, __m256 scale) {
  _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)), scale));
}
inline void store_scaled_signed(float* out, __m128i bytes, __m256 scale) {
  _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale));
}

/// Bits [shift, shift + width) of every byte; `mask` = 2^width - 1.
template <int kShift>
inline __m256i bits_of(__m256i bytes, char mask) {
  return _mm256_and_si256(_mm256_srli_epi16(bytes, kShift), _mm256_set1_epi8(mask));
}

/// Bytes of word j: scale j (first) or min j (second) of eight groups (base/quant_blocks.h).
inline void unpack_six_bits(const PackedScales& packed, const StoredHalf& scale,
                            const StoredHalf& min_scale, float* scales, float* mins) {
  std::uint32_t words[3];
  std::memcpy(words, packed.bytes, sizeof(words));
  const auto six_bits = [&](std::uint32_t first, std::uint32_t last_low) {
    const std::uint32_t low = first & 0x3f3f3f3fu;
    const std::uint32_t high = (last_low & 0x0f0f0f0fu) | ((first >> 2) & 0x30303030u);
    return _mm_cvtsi64_si128(static_cast<std::int64_t>(std::uint64_t{high} << 32 | low));
  };
  store_scaled_unsigned(scales, six_bits(words[0], words[2]), broadcast_half(scale));
  // (-s) * m has the bits of -(s * m).
  const __m256 negative = _mm256_xor_ps(broadcast_half(min_scale), _mm256_set1_ps(-0.0f));
  store_scaled_unsigned(mins, six_bits(words[1], words[2] >> 4), negative);
}

struct Q4_KCodes {
  static constexpr int kOffset = 0;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = false;
  template <typename Elements, typename Sink>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, float* scales,
                     float* mins) {
    for_each_block<Q4_KBlock>(
        blocks, elements, scales, mins,
        [&](const Q4_KBlock& block, std::size_t at, float* block_scales, float* block_mins) {
          unpack_six_bits(block.group_scales, block.scale, block.min_scale, block_scales,
                          block_mins);
          for (std::size_t i = 0; i < 128; i += 16 * kInterleave) {
            const Bytes both = bytes_load(block.nibbles + i);
            sink.put(at + 2 * i, alternate_nibbles(even_lanes(both)),
                     alternate_nibbles(odd_lanes(both)));
          }
        });
  }
};

struct Q5_KCodes {
  static constexpr int kOffset = 0;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = false;
  template <typename Elements, typename Sink>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, float* scales,
                     float* mins) {
    for_each_block<Q5_KBlock>(
        blocks, elements, scales, mins,
        [&](const Q5_KBlock& block, std::size_t at, float* block_scales, float* block_mins) {
          unpack_six_bits(block.group_scales, block.scale, block.min_scale, block_scales,
                          block_mins);
          const Bytes first = bytes_broadcast(load_128(block.fifth_bits));
          const Bytes second = bytes_broadcast(load_128(block.fifth_bits + 16));
          for (int group = 0; group < 8; group += kInterleave) {
            const Bytes both = bytes_load(block.nibbles + 16 * group);
            sink.put(at + static_cast<std::size_t>(32 * group),
                     alternate_nibbles(even_lanes(both)) | sixteen_where_bit(first, group),
                     alternate_nibbles(odd_lanes(both)) | sixteen_where_bit(second, group));
          }
        });
  }
};

// Groups of 16: codes in order.

/// Q6_K with an offset of 32.
inline void unpack_q6_k(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float* mins) {
  for_each_block<Q6_KBlock>(
      blocks, elements, scales, mins,
      [&](const Q6_KBlock& block, std::size_t at, float* block_scales, float*) {
        std::uint8_t* const out = codes + at;
        const __m256 scale = broadcast_half(block.scale);
        store_scaled_signed(block_scales, load_128(block.group_scales), scale);
        store_scaled_signed(block_scales + 8, _mm_srli_si128(load_128(block.group_scales), 8),
                            scale);
        for (std::size_t half = 0; half < 2; ++half) {
          const __m256i first = load_256(block.nibbles + 64 * half);
          const __m256i second = load_256(block.nibbles + 64 * half + 32);
          const __m256i pairs = load_256(block.pairs + 32 * half);
          const __m256i upper = _mm256_set1_epi8(0x30);  // where a pair goes
          const __m256i codes_0 = _mm256_or_si256(
              bits_of<0>(first, 15), _mm256_and_si256(_mm256_slli_epi16(pairs, 4), upper));
          const __m256i codes_1 = _mm256_or_si256(
              bits_of<0>(second, 15), _mm256_and_si256(_mm256_slli_epi16(pairs, 2), upper));
          const __m256i codes_2 =
              _mm256_or_si256(bits_of<4>(first, 15), _mm256_and_si256(pairs, upper));
          const __m256i codes_3 = _mm256_or_si256(
              bits_of<4>(second, 15), _mm256_and_si256(_mm256_srli_epi16(pairs, 2), upper));
          store_64_bytes(out + 128 * half, codes_0, codes_1);
          store_64_bytes(out + 128 * half + 64, codes_2, codes_3);
        }
      });
}

inline void unpack_q2_k(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float* mins) {
  for_each_block<Q2_KBlock>(
      blocks, elements, scales, mins,
      [&](const Q2_KBlock& block, std::size_t at, float* block_scales, float* block_mins) {
        std::uint8_t* const out = codes + at;
        const __m128i both = load_128(block.group_scales);
        const __m128i low = _mm_and_si128(both, _mm_set1_epi8(15));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));
        const __m256 scale = broadcast_half(block.scale);
        const __m256 negative =
            _mm256_xor_ps(broadcast_half(block.min_scale), _mm256_set1_ps(-0.0f));
        store_scaled_unsigned(block_scales, low, scale);
        store_scaled_unsigned(block_scales + 8, _mm_srli_si128(low, 8), scale);
        store_scaled_unsigned(block_mins, high, negative);
        store_scaled_unsigned(block_mins + 8, _mm_srli_si128(high, 8), negative);
        for (std::size_t half = 0; half < 2; ++half) {
          const __m256i pairs = load_256(block.pairs + 32 * half);
          store_64_bytes(out + 128 * half, bits_of<0>(pairs, 3), bits_of<2>(pairs, 3));
          store_64_bytes(out + 128 * half + 64, bits_of<4>(pairs, 3), bits_of<6>(pairs, 3));
        }
      });
}

/// Q3_K with an offset of 4.
inline void unpack_q3_k(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float* mins) {
  for_each_block<Q3_KBlock>(
      blocks, elements, scales, mins,
      [&](const Q3_KBlock& block, std::size_t at, float* block_scales, float*) {
        std::uint8_t* const out = codes + at;
        std::uint64_t low;
        std::uint32_t pairs;
        std::memcpy(&low, block.group_scales, sizeof(low));
        std::memcpy(&pairs, block.group_scales + 8, sizeof(pairs));
        const auto nibble = [&](int shift) {
          return static_cast<std::int64_t>((low >> shift) & 0x0f0f0f0f0f0f0f0f);
        };
        const auto upper = [&](int shift) { return (pairs >> shift & 0x03030303u) << 4; };
        const __m128i six_bits = _mm_or_si128(
            _mm_set_epi64x(nibble(4), nibble(0)),
            _mm_setr_epi32(static_cast<std::int32_t>(upper(0)), static_cast<std::int32_t>(upper(2)),
                           static_cast<std::int32_t>(upper(4)),
                           static_cast<std::int32_t>(upper(6))));
        const __m128i factors = _mm_sub_epi8(six_bits, _mm_set1_epi8(32));
        const __m256 scale = broadcast_half(block.scale);
        store_scaled_signed(block_scales, factors, scale);
        store_scaled_signed(block_scales + 8, _mm_srli_si128(factors, 8), scale);
        const __m256i high = load_256(block.high_bits);
        const __m256i four = _mm256_set1_epi8(4);  // where a high bit goes
        for (std::size_t half = 0; half < 2; ++half) {
          const __m256i two_bits = load_256(block.pairs + 32 * half);
          const __m256i bits = half == 0 ? high : _mm256_srli_epi16(high, 4);
          const __m256i codes_0 = _mm256_or_si256(
              bits_of<0>(two_bits, 3), _mm256_and_si256(_mm256_slli_epi16(bits, 2), four));
          const __m256i codes_1 = _mm256_or_si256(
              bits_of<2>(two_bits, 3), _mm256_and_si256(_mm256_slli_epi16(bits, 1), four));
          const __m256i codes_2 =
              _mm256_or_si256(bits_of<4>(two_bits, 3), _mm256_and_si256(bits, four));
          const __m256i codes_3 = _mm256_or_si256(
              bits_of<6>(two_bits, 3), _mm256_and_si256(_mm256_srli_epi16(bits, 1), four));
          store_64_bytes(out + 128 * half, codes_0, codes_1);
          store_64_bytes(out + 128 * half + 64, codes_2, codes_3);
        }
      });
}

struct IQ4_XSCodes {
  static constexpr int kOffset = kEightBitOffset;
  static constexpr bool kWide = kEightBitsAreWide;
  static constexpr bool kHalves = false;
  template <typename Elements, typename Sink>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, float* scales,
                     float* mins) {
    const Bytes table = nibble_table(kIq4Values, kOffset);
    for_each_block<IQ4_XSBlock>(
        blocks, elements, scales, mins,
        [&](const IQ4_XSBlock& block, std::size_t at, float* block_scales, float*) {
          std::int32_t low;
          std::memcpy(&low, block.scales_low, sizeof(low));
          const std::int32_t high = block.scales_high[0] | block.scales_high[1] << 8;
          const __m256i fours = _mm256_srlv_epi32(_mm256_set1_epi32(low),
                                                  _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
          const __m256i twos = _mm256_srlv_epi32(_mm256_set1_epi32(high),
                                                 _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
          const __m256i six_bits =
              _mm256_or_si256(_mm256_and_si256(fours, _mm256_set1_epi32(15)),
                              _mm256_slli_epi32(_mm256_and_si256(twos, _mm256_set1_epi32(3)), 4));
          const __m256i factors = _mm256_sub_epi32(six_bits, _mm256_set1_epi32(32));
          _mm256_storeu_ps(block_scales,
                           _mm256_mul_ps(broadcast_half(block.scale), _mm256_cvtepi32_ps(factors)));
          for (std::size_t i = 0; i < 128; i += 16 * kInterleave) {
            const Bytes both = bytes_load(block.nibbles + i);
            sink.put(at + 2 * i, look_up(table, low_nibbles(both)),
                     look_up(table, high_nibbles(both)));
          }
        });
  }
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

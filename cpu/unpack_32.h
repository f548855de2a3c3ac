#pragma once
// Unpacking of the formats whose blocks have 32 codes, with AVX2 (wider sets use the same: it is
// loads that cost here). SegmentFormat::unpack (segment_codes.h) says what each function does.

#include <immintrin.h>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/quant_blocks.h"
#include "base/tensor_format.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

inline __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load_32_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void store_32_bytes(std::uint8_t* p, __m256i bytes) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
}

/// The half at `p`, `stride` bytes apart for eight blocks.
inline __m128i eight_halves(const std::byte* p, std::size_t stride) {
  const auto at = [&](std::size_t i) {
    std::int16_t half;
    std::memcpy(&half, p + i * stride, sizeof(half));
    return half;
  };
  __m128i halves = _mm_cvtsi32_si128(at(0));
  halves = _mm_insert_epi16(halves, at(1), 1);
  halves = _mm_insert_epi16(halves, at(2), 2);
  halves = _mm_insert_epi16(halves, at(3), 3);
  halves = _mm_insert_epi16(halves, at(4), 4);
  halves = _mm_insert_epi16(halves, at(5), 5);
  halves = _mm_insert_epi16(halves, at(6), 6);
  return _mm_insert_epi16(halves, at(7), 7);
}

/// The halves at `p` and every `stride` bytes further on → float32.
inline void gather_halves(const std::byte* p, std::size_t stride, std::size_t count, float* out) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(eight_halves(p + i * stride, stride)));
  }
  for (; i < count; ++i) out[i] = load_half(p + i * stride);
}

/// 16 bytes → 32: the low nibbles, then the high ones.
inline __m256i nibbles_of_16(const std::uint8_t* bytes) {
  const __m128i both = load_128(bytes);
  const __m256i apart =
      _mm256_inserti128_si256(_mm256_castsi128_si256(both), _mm_srli_epi16(both, 4), 1);
  return _mm256_and_si256(apart, _mm256_set1_epi8(15));
}

/// Sixteen in each byte whose bit of `bits` is set.
inline __m256i sixteens_where(const std::uint8_t* bits) {
  std::int32_t word;
  std::memcpy(&word, bits, sizeof(word));
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(word),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<std::int64_t>(0x8040201008040201));
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit),
                          _mm256_set1_epi8(16));
}

/// Looks sixteen signed values up, moved by `offset`.
class NibbleTable {
 public:
  NibbleTable(const std::int8_t (&values)[16], int offset)
      : values_(_mm256_add_epi8(_mm256_broadcastsi128_si256(load_128(values)),
                                _mm256_set1_epi8(static_cast<char>(offset)))) {}
  __m256i operator()(__m256i nibbles) const { return _mm256_shuffle_epi8(values_, nibbles); }

 private:
  __m256i values_;
};

/// Hands each block's 32 codes to `codes_of`, which gives them as bytes.
template <typename Block, typename CodesOf>
inline void unpack_codes(const std::byte* blocks, std::size_t elements, std::uint8_t* codes,
                         const CodesOf& codes_of) {
  const auto* block = reinterpret_cast<const Block*>(blocks);
  for (std::size_t i = 0; i < elements; i += 32) store_32_bytes(codes + i, codes_of(*block++));
}

template <int kOffset>
void unpack_q8_0(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                 std::uint8_t* codes, float* scales, float*) {
  static_assert(kOffset == 0 || kOffset == 128);
  gather_halves(blocks, sizeof(Q8_0Block), elements / 32, scales);
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(kOffset));
  unpack_codes<Q8_0Block>(blocks, elements, codes, [&](const Q8_0Block& block) {
    return _mm256_xor_si256(load_32_bytes(block.codes), flip);
  });
}

/// Q4_0 with an offset of 8.
inline void unpack_q4_0(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float*) {
  gather_halves(blocks, sizeof(Q4_0Block), elements / 32, scales);
  unpack_codes<Q4_0Block>(blocks, elements, codes,
                          [](const Q4_0Block& block) { return nibbles_of_16(block.nibbles); });
}

inline void unpack_q4_1(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float* mins) {
  gather_halves(blocks, sizeof(Q4_1Block), elements / 32, scales);
  gather_halves(blocks + 2, sizeof(Q4_1Block), elements / 32, mins);
  unpack_codes<Q4_1Block>(blocks, elements, codes,
                          [](const Q4_1Block& block) { return nibbles_of_16(block.nibbles); });
}

/// Q5_0 with an offset of 16.
inline void unpack_q5_0(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float*) {
  gather_halves(blocks, sizeof(Q5_0Block), elements / 32, scales);
  unpack_codes<Q5_0Block>(blocks, elements, codes, [](const Q5_0Block& block) {
    return _mm256_or_si256(nibbles_of_16(block.nibbles), sixteens_where(block.fifth_bits));
  });
}

inline void unpack_q5_1(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                        std::uint8_t* codes, float* scales, float* mins) {
  gather_halves(blocks, sizeof(Q5_1Block), elements / 32, scales);
  gather_halves(blocks + 2, sizeof(Q5_1Block), elements / 32, mins);
  unpack_codes<Q5_1Block>(blocks, elements, codes, [](const Q5_1Block& block) {
    return _mm256_or_si256(nibbles_of_16(block.nibbles), sixteens_where(block.fifth_bits));
  });
}

template <int kOffset>
void unpack_iq4_nl(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                   std::uint8_t* codes, float* scales, float*) {
  gather_halves(blocks, sizeof(IQ4_NLBlock), elements / 32, scales);
  const NibbleTable table(kIq4Values, kOffset);
  unpack_codes<IQ4_NLBlock>(blocks, elements, codes, [&](const IQ4_NLBlock& block) {
    return table(nibbles_of_16(block.nibbles));
  });
}

template <int kOffset>
void unpack_mxfp4(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                  std::uint8_t* codes, float* scales, float*) {
  const auto* block = reinterpret_cast<const MXFP4Block*>(blocks);
  for (std::size_t i = 0; i < elements / 32; ++i) {
    // 2^(exponent - 128); the two smallest are subnormal.
    const std::uint32_t exponent = block[i].exponent;
    const std::uint32_t bits = exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23;
    std::memcpy(scales + i, &bits, sizeof(bits));
  }
  const NibbleTable table(kFp4TwiceValues, kOffset);
  unpack_codes<MXFP4Block>(blocks, elements, codes,
                           [&](const MXFP4Block& b) { return table(nibbles_of_16(b.nibbles)); });
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

#pragma once
// The quantised dot's integers as AVX-512 registers, with and without VNNI (code_lanes.h).

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

struct Ints {
  __m512i v;
};
struct Words {
  __m512i v;
};

constexpr std::size_t kFewRows = 4;
constexpr std::size_t kRegisterStrips = 2;
constexpr std::size_t kRegisterRows = 4;

inline Ints ints_set(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Ints ints_load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void ints_store(std::int32_t* p, Ints a) { _mm512_storeu_si512(p, a.v); }
inline Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Lanes to_lanes(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline Words words_load(const void* p) { return {_mm512_loadu_si512(p)}; }
inline void words_store(void* p, Words a) { _mm512_storeu_si512(p, a.v); }
inline Words words_set(std::uint32_t word) {
  return {_mm512_set1_epi32(static_cast<std::int32_t>(word))};
}
inline Words operator&(Words a, Words b) { return {_mm512_and_si512(a.v, b.v)}; }
inline Words operator|(Words a, Words b) { return {_mm512_or_si512(a.v, b.v)}; }
inline Words operator^(Words a, Words b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Words words_select(Words mask, Words a, Words b) {
  return {_mm512_ternarylogic_epi32(b.v, a.v, mask.v, 0xd8)};
}
template <int kBits>
inline Words shift_right(Words a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}
template <int kBits>
inline Words shift_left(Words a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
inline __m512i in_every_lane(__m128i lane) { return _mm512_broadcast_i32x4(lane); }
struct ByteTable {
  __m512i v;
};
inline ByteTable byte_table(const std::int8_t (&values)[16], int offset) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  return {in_every_lane(_mm_add_epi8(bytes, _mm_set1_epi8(static_cast<char>(offset))))};
}
inline Words look_up(ByteTable table, Words a) { return {_mm512_shuffle_epi8(table.v, a.v)}; }
/// A mask of bytes: four of each row's bits, from bit kFirst on.
template <int kFirst>
inline auto bits_to_bytes(Words bits) {
  constexpr int kByte = kFirst / 8 * 0x01010101;
  const __m512i spread = _mm512_shuffle_epi8(
      bits.v, in_every_lane(_mm_setr_epi32(kByte, kByte + 0x04040404, kByte + 0x08080808,
                                           kByte + 0x0c0c0c0c)));
  constexpr auto kBits = static_cast<std::int32_t>(kFirst % 8 == 0 ? 0x08040201u : 0x80402010u);
  return _mm512_test_epi8_mask(spread, _mm512_set1_epi32(kBits));
}
template <int kFirst>
inline Words sixteens(Words bits) {
  return {_mm512_maskz_mov_epi8(bits_to_bytes<kFirst>(bits), _mm512_set1_epi8(16))};
}
template <int kOffset, int kFirst>
inline Words with_signs(Words magnitudes, Words signs) {
  const __m512i offset = _mm512_set1_epi8(kOffset);
  const __m512i plus = _mm512_add_epi8(offset, magnitudes.v);
  return {_mm512_mask_sub_epi8(plus, bits_to_bytes<kFirst>(signs), offset, magnitudes.v)};
}
template <int kSecond>
inline Words words_load_of_pairs(const void* p) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i order = kSecond == 0 ? even : _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const auto* pairs = static_cast<const std::byte*>(p);
  return {_mm512_permutex2var_epi32(words_load(pairs).v, order, words_load(pairs + 64).v)};
}
template <int kFactor>
inline Words halves_times(Words a) {
  return {_mm512_mullo_epi16(a.v, _mm512_set1_epi16(kFactor))};
}
template <int kByte>
inline Ints unsigned_byte(Words a) {
  if constexpr (kByte == 3) return {_mm512_srli_epi32(a.v, 24)};
  return {_mm512_and_si512(_mm512_srli_epi32(a.v, 8 * kByte), _mm512_set1_epi32(255))};
}
template <int kByte>
inline Ints signed_byte(Words a) {
  return {_mm512_srai_epi32(_mm512_slli_epi32(a.v, 24 - 8 * kByte), 24)};
}
inline Lanes low_halves(Words a) { return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.v))}; }
inline Lanes high_halves(Words a) { return low_halves(shift_right<16>(a)); }
inline Lanes lanes_load_powers(const std::byte* exponents) {
  const auto eight = [&](int from) {
    const __m256i e =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(exponents + from)));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
    return _mm256_blendv_epi8(subnormal, normal, is_normal);
  };
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(eight(0)), eight(8), 1);
  return {_mm512_castsi512_ps(both)};
}
inline Lanes lanes_load_small_floats(const std::byte* bytes, std::uint8_t base) {
  const __m512i codes =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  const __m512i floats = _mm512_add_epi32(_mm512_slli_epi32(codes, 20),
                                          _mm512_set1_epi32(static_cast<std::int32_t>(base) << 23));
  return {_mm512_castsi512_ps(floats)};
}
inline Ints nibbles_of_rows(const std::byte* bytes) {
  const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
  const __m128i rows = _mm_unpacklo_epi64(pairs, _mm_srli_epi16(pairs, 4));
  return {_mm512_cvtepu8_epi32(_mm_and_si128(rows, _mm_set1_epi8(15)))};
}
template <int kBits>
inline Ints shift_left(Ints a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
inline Ints add_products(Ints sums, Ints a, std::int32_t x) {
  // Pairs of 16 bits: the upper ones of a are its sign, and meet zeros.
  const __m512i low = _mm512_set1_epi32(x & 0xffff);
#if SLUICE_ISA_LEVEL >= 3
  return {_mm512_dpwssd_epi32(sums.v, a.v, low)};
#else
  return {_mm512_add_epi32(sums.v, _mm512_madd_epi16(a.v, low))};
#endif
}
inline Lanes lanes_load_bf16(const std::byte* p) {
  const __m256i tops = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepi16_epi32(tops), 16))};
}

template <bool kWide>
inline Ints dot_4(Ints sums, Words codes, const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, sizeof(word));
  __m512i four = _mm512_set1_epi32(word);
#if SLUICE_ISA_LEVEL >= 3
  return {_mm512_dpbusd_epi32(sums.v, codes.v, four)};
#else
  __m512i w = codes.v;
  if constexpr (kWide) {
    four = _mm512_mask_sub_epi8(four, _mm512_movepi8_mask(w), _mm512_setzero_si512(), four);
    w = _mm512_abs_epi8(w);
  }
  const __m512i pairs = _mm512_maddubs_epi16(w, four);
  return {_mm512_add_epi32(sums.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
#endif
}

/// Kept in registers until all are there: what was stored in pieces cannot be loaded whole at once.
inline void gather_halves(const std::byte* rows, std::size_t stride, std::byte* out) {
  const auto half = [&](std::size_t row) {
    std::int16_t bits;
    std::memcpy(&bits, rows + row * stride, sizeof(bits));
    return bits;
  };
  for (std::size_t row = 0; row < 16; row += 8) {
    __m128i halves = _mm_cvtsi32_si128(half(row));
    halves = _mm_insert_epi16(halves, half(row + 1), 1);
    halves = _mm_insert_epi16(halves, half(row + 2), 2);
    halves = _mm_insert_epi16(halves, half(row + 3), 3);
    halves = _mm_insert_epi16(halves, half(row + 4), 4);
    halves = _mm_insert_epi16(halves, half(row + 5), 5);
    halves = _mm_insert_epi16(halves, half(row + 6), 6);
    halves = _mm_insert_epi16(halves, half(row + 7), 7);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * row), halves);
  }
}

inline void transpose_4(const std::byte* rows, std::size_t stride, Words* columns) {
  const auto load = [&](std::size_t row) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + row * stride));
  };
  __m512i mixed[4];  // lane l of mixed[i]: four words of row 4l + i
  for (std::size_t i = 0; i < 4; ++i) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load(i)), load(i + 4), 1);
    const __m256i high =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load(i + 8)), load(i + 12), 1);
    mixed[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  const __m512i low_01 = _mm512_unpacklo_epi32(mixed[0], mixed[1]);
  const __m512i low_23 = _mm512_unpacklo_epi32(mixed[2], mixed[3]);
  const __m512i high_01 = _mm512_unpackhi_epi32(mixed[0], mixed[1]);
  const __m512i high_23 = _mm512_unpackhi_epi32(mixed[2], mixed[3]);
  columns[0].v = _mm512_unpacklo_epi64(low_01, low_23);
  columns[1].v = _mm512_unpackhi_epi64(low_01, low_23);
  columns[2].v = _mm512_unpacklo_epi64(high_01, high_23);
  columns[3].v = _mm512_unpackhi_epi64(high_01, high_23);
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

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

constexpr std::size_t kRegisterRows = 8;

inline Ints ints_set(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Ints ints_load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void ints_store(std::int32_t* p, Ints a) { _mm512_storeu_si512(p, a.v); }
inline Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Lanes to_lanes(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }

/// sums + dots of each four bytes of w, unsigned unless wide, and x.
template <bool kWide>
inline __m512i dot_bytes(__m512i sums, __m512i w, __m512i x) {
#if SLUICE_ISA_LEVEL >= 3
  return _mm512_dpbusd_epi32(sums, w, x);
#else
  if constexpr (kWide) {
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
    w = _mm512_abs_epi8(w);
  }
  const __m512i pairs = _mm512_maddubs_epi16(w, x);
  return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#endif
}

struct CodePanel {
  __m512i v;
};
inline CodePanel panel_load(const std::uint8_t* p) { return {_mm512_loadu_si512(p)}; }
template <bool kWide>
inline Ints dot_4(Ints sums, CodePanel codes, const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, sizeof(word));
  return {dot_bytes<kWide>(sums.v, codes.v, _mm512_set1_epi32(word))};
}

/// [a0 + a2, b0 + b2, a1 + a3, b1 + b3] in every 128-bit lane.
inline __m512i add_halves(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

template <std::size_t kGroup, bool kWide>
inline void group_dots(const std::uint8_t* codes, const std::int8_t* x, Ints* sums) {
  __m512i dots[8];  // lane l of dots[j]: four parts of the sum of sixteen 4j + l
  for (int j = 0; j < 8; ++j) {
    dots[j] = dot_bytes<kWide>(_mm512_setzero_si512(), _mm512_loadu_si512(codes + 64 * j),
                               _mm512_loadu_si512(x + 64 * j));
  }
  __m512i sixteens[2];  // lane l, element j: the sum of sixteen 4j + l, of the first and the second
                        // half
  for (int half = 0; half < 2; ++half) {
    const __m512i a = add_halves(dots[4 * half], dots[4 * half + 1]);
    const __m512i b = add_halves(dots[4 * half + 2], dots[4 * half + 3]);
    sixteens[half] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  }
  if constexpr (kGroup == 16) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    sums[0].v = _mm512_permutexvar_epi32(order, sixteens[0]);
    sums[1].v = _mm512_permutexvar_epi32(order, sixteens[1]);
  } else {
    const __m512i even =
        _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(4));
    sums[0].v = _mm512_add_epi32(_mm512_permutex2var_epi32(sixteens[0], even, sixteens[1]),
                                 _mm512_permutex2var_epi32(sixteens[0], odd, sixteens[1]));
  }
}

template <std::size_t kGroup>
inline void group_sums(const std::int16_t* sixteens, int factor, Ints* sums) {
  if constexpr (kGroup == 16) {
    const auto* halves = reinterpret_cast<const __m256i*>(sixteens);
    const __m512i factors = _mm512_set1_epi32(factor);
    for (int half = 0; half < 2; ++half) {
      sums[half].v =
          _mm512_mullo_epi32(_mm512_cvtepi16_epi32(_mm256_loadu_si256(halves + half)), factors);
    }
  } else {
    sums[0].v = _mm512_madd_epi16(_mm512_loadu_si512(sixteens),
                                  _mm512_set1_epi16(static_cast<std::int16_t>(factor)));
  }
}

inline void transpose_4(const float* rows, std::size_t stride, Lanes* columns) {
  __m512 mixed[4];  // lane l of mixed[i]: four elements of row 4l + i
  for (std::size_t i = 0; i < 4; ++i) {
    const float* const row = rows + i * stride;
    __m512 four = _mm512_castps128_ps512(_mm_loadu_ps(row));
    four = _mm512_insertf32x4(four, _mm_loadu_ps(row + 4 * stride), 1);
    four = _mm512_insertf32x4(four, _mm_loadu_ps(row + 8 * stride), 2);
    mixed[i] = _mm512_insertf32x4(four, _mm_loadu_ps(row + 12 * stride), 3);
  }
  const __m512 low_01 = _mm512_unpacklo_ps(mixed[0], mixed[1]);
  const __m512 low_23 = _mm512_unpacklo_ps(mixed[2], mixed[3]);
  const __m512 high_01 = _mm512_unpackhi_ps(mixed[0], mixed[1]);
  const __m512 high_23 = _mm512_unpackhi_ps(mixed[2], mixed[3]);
  columns[0].v = _mm512_shuffle_ps(low_01, low_23, 0x44);
  columns[1].v = _mm512_shuffle_ps(low_01, low_23, 0xee);
  columns[2].v = _mm512_shuffle_ps(high_01, high_23, 0x44);
  columns[3].v = _mm512_shuffle_ps(high_01, high_23, 0xee);
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

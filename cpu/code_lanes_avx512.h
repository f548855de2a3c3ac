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

constexpr std::size_t kRegisterStrips = 2;
constexpr std::size_t kRegisterRows = 4;

constexpr std::size_t kInterleave = 4;
inline void interleave(std::int8_t* codes) {
  for (int i = 0; i < 512; i += 128) {
    const __m512i first = _mm512_loadu_si512(codes + i);
    const __m512i second = _mm512_loadu_si512(codes + i + 64);
    _mm512_storeu_si512(codes + i, _mm512_shuffle_i64x2(first, second, 0x88));
    _mm512_storeu_si512(codes + i + 64, _mm512_shuffle_i64x2(first, second, 0xdd));
  }
}

inline Ints ints_set(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Ints ints_load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void ints_store(std::int32_t* p, Ints a) { _mm512_storeu_si512(p, a.v); }
inline Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Lanes to_lanes(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline Lanes lanes_load_fresh(const float* p) {
  const __m512d low = _mm512_castpd256_pd512(_mm256_castps_pd(_mm256_loadu_ps(p)));
  const __m256d high = _mm256_castps_pd(_mm256_loadu_ps(p + 8));
  return {_mm512_castpd_ps(_mm512_insertf64x4(low, high, 1))};
}
inline Lanes lanes_load_bf16(const std::byte* p) {
  const __m256i tops = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepi16_epi32(tops), 16))};
}

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

/// Lane l of dots[j] holds four parts of number 4j + l: adds them up, in order.
inline __m512i sum_lanes(const __m512i* dots) {
  const __m512i a = add_halves(dots[0], dots[1]);
  const __m512i b = add_halves(dots[2], dots[3]);
  const __m512i turned =  // number 4j + l is element j of lane l
      _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), turned);
}

using DotParts = __m512i[4];
constexpr std::size_t kDotRows = 4;
constexpr bool kScalesStayHalves = true;
/// Lane l of dots[16 * (4j + quad)…] holds the four rows' dots of group 4j + l: it costs as much to
/// add up the parts of four rows as those of one.
template <typename Sink>
inline void store_dots(const Sink* sinks, std::size_t groups, std::size_t row, std::int32_t* dots) {
  for (std::size_t j = 0; j < groups / 4; ++j) {
    const __m512i a = add_halves(sinks[0].parts[j], sinks[1].parts[j]);
    const __m512i b = add_halves(sinks[2].parts[j], sinks[3].parts[j]);
    _mm512_storeu_si512(dots + 64 * j + 4 * row,
                        _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)));
  }
}
inline void turn_dots(const std::int32_t* dots, std::size_t first, Ints* turned) {
  __m512i quads[4];
  for (std::size_t i = 0; i < 4; ++i) quads[i] = _mm512_loadu_si512(dots + 16 * (first + i));
  const __m512i low_01 = _mm512_shuffle_i64x2(quads[0], quads[1], 0x44);
  const __m512i low_23 = _mm512_shuffle_i64x2(quads[2], quads[3], 0x44);
  const __m512i high_01 = _mm512_shuffle_i64x2(quads[0], quads[1], 0xee);
  const __m512i high_23 = _mm512_shuffle_i64x2(quads[2], quads[3], 0xee);
  turned[0].v = _mm512_shuffle_i64x2(low_01, low_23, 0x88);
  turned[1].v = _mm512_shuffle_i64x2(low_01, low_23, 0xdd);
  turned[2].v = _mm512_shuffle_i64x2(high_01, high_23, 0x88);
  turned[3].v = _mm512_shuffle_i64x2(high_01, high_23, 0xdd);
}

/// Where the words of a register come from, out of two.
struct WordOrder {
  alignas(64) std::int16_t words[32] = {};
  __m512i operator()(__m512i a, __m512i b) const {
    return _mm512_permutex2var_epi16(a, _mm512_load_si512(words), b);
  }
};
/// Of two registers with four rows of eight words each, columns first … first + 3: [column][row].
constexpr WordOrder four_columns(int first) {
  WordOrder order;
  for (int i = 0; i < 32; ++i) {
    order.words[i] = static_cast<std::int16_t>(i % 8 * 8 + first + i / 8);
  }
  return order;
}
/// Of two registers with eight rows of four columns each, columns first and first + 1.
constexpr WordOrder two_columns(int first) {
  WordOrder order;
  for (int i = 0; i < 32; ++i) {
    order.words[i] = static_cast<std::int16_t>((first + i / 16) * 8 + i % 8 + i / 8 % 2 * 32);
  }
  return order;
}
inline void turn_halves(const std::uint16_t (*rows)[8], Lanes* columns) {
  static constexpr WordOrder kFours[2] = {four_columns(0), four_columns(4)};
  static constexpr WordOrder kTwos[2] = {two_columns(0), two_columns(2)};
  __m512i quads[4];
  for (std::size_t i = 0; i < 4; ++i) quads[i] = _mm512_loadu_si512(rows + 4 * i);
  for (std::size_t four = 0; four < 2; ++four) {
    const __m512i upper = kFours[four](quads[0], quads[1]);
    const __m512i lower = kFours[four](quads[2], quads[3]);
    for (std::size_t two = 0; two < 2; ++two) {
      const __m512i both = kTwos[two](upper, lower);
      columns[4 * four + 2 * two].v = _mm512_cvtph_ps(_mm512_castsi512_si256(both));
      columns[4 * four + 2 * two + 1].v = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1));
    }
  }
}

template <std::size_t kGroup, bool kWide>
inline void group_dots(const std::uint8_t* codes, const std::int8_t* x, Ints* sums) {
  const auto dot_64 = [&](__m512i sum, int at) {
    return dot_bytes<kWide>(sum, _mm512_loadu_si512(codes + at), _mm512_loadu_si512(x + at));
  };
  __m512i dots[8];
  if constexpr (kGroup == 16) {
    for (int j = 0; j < 8; ++j) dots[j] = dot_64(_mm512_setzero_si512(), 64 * j);
    sums[1].v = sum_lanes(dots + 4);
  } else {
    for (int j = 0; j < 4; ++j) {
      dots[j] = dot_64(dot_64(_mm512_setzero_si512(), 128 * j), 128 * j + 64);
    }
  }
  sums[0].v = sum_lanes(dots);
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

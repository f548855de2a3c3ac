#pragma once
// The quantised dot's integers as pairs of AVX2 registers (code_lanes.h).

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

struct Ints {
  __m256i low, high;
};

constexpr std::size_t kRegisterStrips = 1;
constexpr std::size_t kRegisterRows = 2;

inline __m256i load_256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
constexpr std::size_t kInterleave = 2;
inline void interleave(std::int8_t* codes) {
  for (int i = 0; i < 512; i += 64) {
    const __m256i first = load_256(codes + i);
    const __m256i second = load_256(codes + i + 32);
    auto* const out = reinterpret_cast<__m256i*>(codes + i);
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(first, second, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(first, second, 0x31));
  }
}

inline Ints ints_set(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Ints ints_load(const std::int32_t* p) { return {load_256(p), load_256(p + 8)}; }
inline void ints_store(std::int32_t* p, Ints a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.high);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline Lanes to_lanes(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }

inline Lanes lanes_load_fresh(const float* p) { return lanes_load(p); }
inline Lanes lanes_load_bf16(const std::byte* p) {
  const auto eight = [&](int from) {
    const __m128i tops = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(tops), 16));
  };
  return {eight(0), eight(16)};
}

/// sums + dots of each four bytes of w, unsigned unless wide, and x.
template <bool kWide>
inline __m256i dot_bytes(__m256i sums, __m256i w, __m256i x) {
  if constexpr (kWide) {
    x = _mm256_sign_epi8(x, w);
    w = _mm256_abs_epi8(w);
  }
  const __m256i pairs = _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

struct CodePanel {
  __m256i low, high;
};
inline CodePanel panel_load(const std::uint8_t* p) { return {load_256(p), load_256(p + 32)}; }
template <bool kWide>
inline Ints dot_4(Ints sums, CodePanel codes, const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, sizeof(word));
  const __m256i four = _mm256_set1_epi32(word);
  return {dot_bytes<kWide>(sums.low, codes.low, four),
          dot_bytes<kWide>(sums.high, codes.high, four)};
}

/// Lane l of dots[j] holds four parts of number 2j + l: adds them up, in order.
inline __m256i sum_lanes(const __m256i* dots) {
  const __m256i turned =
      _mm256_hadd_epi32(_mm256_hadd_epi32(dots[0], dots[1]), _mm256_hadd_epi32(dots[2], dots[3]));
  return _mm256_permutevar8x32_epi32(turned, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

using DotParts = __m256i[8];
constexpr std::size_t kDotRows = 1;
constexpr bool kScalesStayHalves = false;
template <typename Sink>
inline void store_dots(const Sink* sinks, std::size_t, std::size_t row, std::int32_t* dots) {
  ints_store(dots + 16 * row, {sum_lanes(sinks[0].parts), sum_lanes(sinks[0].parts + 4)});
}

/// Eight groups from `at` on.
template <std::size_t kGroup, bool kWide>
inline __m256i eight_dots(const std::uint8_t* codes, const std::int8_t* x, std::size_t at) {
  const auto dot_32 = [&](__m256i sum, std::size_t from) {
    return dot_bytes<kWide>(sum, load_256(codes + from), load_256(x + from));
  };
  const __m256i zero = _mm256_setzero_si256();
  __m256i dots[4];
  for (std::size_t j = 0; j < 4; ++j) {
    dots[j] = kGroup == 16 ? dot_32(zero, at + 32 * j)
                           : dot_32(dot_32(zero, at + 64 * j), at + 64 * j + 32);
  }
  return sum_lanes(dots);
}

template <std::size_t kGroup, bool kWide>
inline void group_dots(const std::uint8_t* codes, const std::int8_t* x, Ints* sums) {
  for (std::size_t part = 0; part < 32 / kGroup; ++part) {
    sums[part] = {eight_dots<kGroup, kWide>(codes, x, kGroup * 16 * part),
                  eight_dots<kGroup, kWide>(codes, x, kGroup * 16 * part + kGroup * 8)};
  }
}

template <std::size_t kGroup>
inline void group_sums(const std::int16_t* sixteens, int factor, Ints* sums) {
  if constexpr (kGroup == 16) {
    const auto* eights = reinterpret_cast<const __m128i*>(sixteens);
    const __m256i factors = _mm256_set1_epi32(factor);
    const auto eight = [&](int i) {
      return _mm256_mullo_epi32(_mm256_cvtepi16_epi32(_mm_loadu_si128(eights + i)), factors);
    };
    sums[0] = {eight(0), eight(1)};
    sums[1] = {eight(2), eight(3)};
  } else {
    const __m256i factors = _mm256_set1_epi16(static_cast<std::int16_t>(factor));
    sums[0] = {_mm256_madd_epi16(load_256(sixteens), factors),
               _mm256_madd_epi16(load_256(sixteens + 16), factors)};
  }
}

/// transpose_4 for eight rows.
inline void transpose_4_of_8(const float* rows, std::size_t stride, __m256* columns) {
  __m256 mixed[4];  // lane l of mixed[i]: four elements of row 4l + i
  for (std::size_t i = 0; i < 4; ++i) {
    const float* const row = rows + i * stride;
    mixed[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row)),
                                    _mm_loadu_ps(row + 4 * stride), 1);
  }
  const __m256 low_01 = _mm256_unpacklo_ps(mixed[0], mixed[1]);
  const __m256 low_23 = _mm256_unpacklo_ps(mixed[2], mixed[3]);
  const __m256 high_01 = _mm256_unpackhi_ps(mixed[0], mixed[1]);
  const __m256 high_23 = _mm256_unpackhi_ps(mixed[2], mixed[3]);
  columns[0] = _mm256_shuffle_ps(low_01, low_23, 0x44);
  columns[1] = _mm256_shuffle_ps(low_01, low_23, 0xee);
  columns[2] = _mm256_shuffle_ps(high_01, high_23, 0x44);
  columns[3] = _mm256_shuffle_ps(high_01, high_23, 0xee);
}

inline void transpose_4(const float* rows, std::size_t stride, Lanes* columns) {
  __m256 low[4], high[4];
  transpose_4_of_8(rows, stride, low);
  transpose_4_of_8(rows + 8 * stride, stride, high);
  for (int j = 0; j < 4; ++j) columns[j] = {low[j], high[j]};
}

inline void turn_dots(const std::int32_t* dots, std::size_t first, Ints* turned) {
  Lanes columns[4];
  transpose_4(reinterpret_cast<const float*>(dots) + first, 16, columns);
  for (std::size_t i = 0; i < 4; ++i) {
    turned[i] = {_mm256_castps_si256(columns[i].low), _mm256_castps_si256(columns[i].high)};
  }
}
inline void turn_halves(const std::uint16_t (*)[8], Lanes*) {}

}  // namespace
}  // namespace sluice::SLUICE_ISA

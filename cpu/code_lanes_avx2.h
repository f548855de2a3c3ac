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
struct Words {
  __m256i low, high;
};

constexpr std::size_t kFewRows = 2;
constexpr std::size_t kRegisterStrips = 1;
constexpr std::size_t kRegisterRows = 2;

inline Ints ints_set(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Ints ints_load(const std::int32_t* p) {
  const auto* registers = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(registers), _mm256_loadu_si256(registers + 1)};
}
inline void ints_store(std::int32_t* p, Ints a) {
  auto* registers = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(registers, a.low);
  _mm256_storeu_si256(registers + 1, a.high);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline Lanes to_lanes(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }

inline Words words_load(const void* p) {
  const auto* registers = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(registers), _mm256_loadu_si256(registers + 1)};
}
inline void words_store(void* p, Words a) {
  auto* registers = static_cast<__m256i*>(p);
  _mm256_storeu_si256(registers, a.low);
  _mm256_storeu_si256(registers + 1, a.high);
}
inline Words words_set(std::uint32_t word) {
  const __m256i eight = _mm256_set1_epi32(static_cast<std::int32_t>(word));
  return {eight, eight};
}
inline Words operator&(Words a, Words b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
inline Words operator|(Words a, Words b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
inline Words operator^(Words a, Words b) {
  return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)};
}
inline Words words_select(Words mask, Words a, Words b) {
  const auto eight = [](__m256i m, __m256i x, __m256i y) {
    return _mm256_or_si256(_mm256_and_si256(m, x), _mm256_andnot_si256(m, y));
  };
  return {eight(mask.low, a.low, b.low), eight(mask.high, a.high, b.high)};
}
template <int kBits>
inline Words shift_right(Words a) {
  return {_mm256_srli_epi32(a.low, kBits), _mm256_srli_epi32(a.high, kBits)};
}
template <int kBits>
inline Words shift_left(Words a) {
  return {_mm256_slli_epi32(a.low, kBits), _mm256_slli_epi32(a.high, kBits)};
}
inline __m256i in_every_lane(__m128i lane) { return _mm256_broadcastsi128_si256(lane); }
struct ByteTable {
  __m256i v;
};
inline ByteTable byte_table(const std::int8_t (&values)[16], int offset) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  return {in_every_lane(_mm_add_epi8(bytes, _mm_set1_epi8(static_cast<char>(offset))))};
}
inline Words look_up(ByteTable table, Words a) {
  return {_mm256_shuffle_epi8(table.v, a.low), _mm256_shuffle_epi8(table.v, a.high)};
}
/// Four of a row's bits, from bit kFirst on, one to a byte: all ones where it is set.
template <int kFirst>
inline Words bits_to_bytes(Words bits) {
  constexpr int kByte = kFirst / 8 * 0x01010101;
  const __m256i order = in_every_lane(
      _mm_setr_epi32(kByte, kByte + 0x04040404, kByte + 0x08080808, kByte + 0x0c0c0c0c));
  constexpr auto kBits = static_cast<std::int32_t>(kFirst % 8 == 0 ? 0x08040201u : 0x80402010u);
  const __m256i bit = _mm256_set1_epi32(kBits);
  const auto eight = [&](__m256i rows) {
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(rows, order), bit), bit);
  };
  return {eight(bits.low), eight(bits.high)};
}
template <int kFirst>
inline Words sixteens(Words bits) {
  return bits_to_bytes<kFirst>(bits) & words_set(0x10101010);
}
template <int kOffset, int kFirst>
inline Words with_signs(Words magnitudes, Words signs) {
  const Words minus = bits_to_bytes<kFirst>(signs);
  const auto eight = [](__m256i magnitude, __m256i negative) {
    // A byte's complement less -1 is the byte's negative.
    const __m256i code = _mm256_sub_epi8(_mm256_xor_si256(magnitude, negative), negative);
    return _mm256_add_epi8(code, _mm256_set1_epi8(kOffset));
  };
  return {eight(magnitudes.low, minus.low), eight(magnitudes.high, minus.high)};
}
template <int kSecond>
inline Words words_load_of_pairs(const void* p) {
  const auto eight = [](Words four_and_four) {
    const __m256 mixed =
        _mm256_shuffle_ps(_mm256_castsi256_ps(four_and_four.low),
                          _mm256_castsi256_ps(four_and_four.high), kSecond == 0 ? 0x88 : 0xdd);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
  };
  const auto* pairs = static_cast<const std::byte*>(p);
  return {eight(words_load(pairs)), eight(words_load(pairs + 64))};
}
template <int kFactor>
inline Words halves_times(Words a) {
  const __m256i factor = _mm256_set1_epi16(kFactor);
  return {_mm256_mullo_epi16(a.low, factor), _mm256_mullo_epi16(a.high, factor)};
}
template <int kByte>
inline Ints unsigned_byte(Words a) {
  const Words byte = shift_right<8 * kByte>(a) & words_set(255);
  return {byte.low, byte.high};
}
template <int kByte>
inline Ints signed_byte(Words a) {
  const Words top = shift_left<24 - 8 * kByte>(a);
  return {_mm256_srai_epi32(top.low, 24), _mm256_srai_epi32(top.high, 24)};
}
inline Lanes low_halves(Words a) {
  const Words halves = a & words_set(0xffff);
  const __m256i packed =
      _mm256_permute4x64_epi64(_mm256_packus_epi32(halves.low, halves.high), 0xd8);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(packed)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(packed, 1))};
}
inline Lanes high_halves(Words a) { return low_halves(shift_right<16>(a)); }
inline Lanes lanes_load_powers(const std::byte* exponents) {
  const auto eight = [&](int from) {
    const __m256i e =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(exponents + from)));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
    return _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal));
  };
  return {eight(0), eight(8)};
}
inline __m256i widen_bytes(__m128i eight) { return _mm256_cvtepu8_epi32(eight); }
inline Lanes lanes_load_small_floats(const std::byte* bytes, std::uint8_t base) {
  const __m256i start = _mm256_set1_epi32(static_cast<std::int32_t>(base) << 23);
  const auto eight = [&](const std::byte* from) {
    const __m256i codes = widen_bytes(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(codes, 20), start));
  };
  return {eight(bytes), eight(bytes + 8)};
}
inline Ints nibbles_of_rows(const std::byte* bytes) {
  const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
  const __m128i fifteen = _mm_set1_epi8(15);
  return {widen_bytes(_mm_and_si128(pairs, fifteen)),
          widen_bytes(_mm_and_si128(_mm_srli_epi16(pairs, 4), fifteen))};
}
template <int kBits>
inline Ints shift_left(Ints a) {
  return {_mm256_slli_epi32(a.low, kBits), _mm256_slli_epi32(a.high, kBits)};
}
inline Ints add_products(Ints sums, Ints a, std::int32_t x) {
  // Pairs of 16 bits: the upper ones of a are its sign, and meet zeros.
  const __m256i low = _mm256_set1_epi32(x & 0xffff);
  return {_mm256_add_epi32(sums.low, _mm256_madd_epi16(a.low, low)),
          _mm256_add_epi32(sums.high, _mm256_madd_epi16(a.high, low))};
}
inline Lanes lanes_load_bf16(const std::byte* p) {
  const auto eight = [&](int from) {
    const __m128i tops = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(tops), 16));
  };
  return {eight(0), eight(16)};
}

template <bool kWide>
inline Ints dot_4(Ints sums, Words codes, const std::int8_t* x) {
  std::int32_t word;
  std::memcpy(&word, x, sizeof(word));
  const __m256i four = _mm256_set1_epi32(word);
  const auto eight = [&](__m256i sum, __m256i w) {
    __m256i signs_moved = four;
    if constexpr (kWide) {
      signs_moved = _mm256_sign_epi8(four, w);
      w = _mm256_abs_epi8(w);
    }
    const __m256i pairs = _mm256_maddubs_epi16(w, signs_moved);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  };
  return {eight(sums.low, codes.low), eight(sums.high, codes.high)};
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

/// transpose_4 for eight rows.
inline void transpose_4_of_8(const std::byte* rows, std::size_t stride, __m256i* columns) {
  const auto load = [&](std::size_t row) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + row * stride));
  };
  __m256i mixed[4];  // lane l of mixed[i]: four words of row 4l + i
  for (std::size_t i = 0; i < 4; ++i) {
    mixed[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load(i)), load(i + 4), 1);
  }
  const __m256i low_01 = _mm256_unpacklo_epi32(mixed[0], mixed[1]);
  const __m256i low_23 = _mm256_unpacklo_epi32(mixed[2], mixed[3]);
  const __m256i high_01 = _mm256_unpackhi_epi32(mixed[0], mixed[1]);
  const __m256i high_23 = _mm256_unpackhi_epi32(mixed[2], mixed[3]);
  columns[0] = _mm256_unpacklo_epi64(low_01, low_23);
  columns[1] = _mm256_unpackhi_epi64(low_01, low_23);
  columns[2] = _mm256_unpacklo_epi64(high_01, high_23);
  columns[3] = _mm256_unpackhi_epi64(high_01, high_23);
}
inline void transpose_4(const std::byte* rows, std::size_t stride, Words* columns) {
  __m256i low[4], high[4];
  transpose_4_of_8(rows, stride, low);
  transpose_4_of_8(rows + 8 * stride, stride, high);
  for (int j = 0; j < 4; ++j) columns[j] = {low[j], high[j]};
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

#pragma once
// Bytes of kInterleave neighbouring groups, sixteen to a 128-bit lane: what unpacking works on
// (unpack_32.h). AVX2 and up.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/code_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

inline __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

#if SLUICE_ISA_LEVEL >= 2

inline __m256i load_256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

struct Bytes {
  __m512i v;
};

inline Bytes bytes_load(const void* p) { return {_mm512_loadu_si512(p)}; }
inline void bytes_store(std::uint8_t* p, Bytes a) { _mm512_storeu_si512(p, a.v); }
inline Bytes bytes_set(int byte) { return {_mm512_set1_epi8(static_cast<char>(byte))}; }
/// Sixteen bytes in every lane.
inline Bytes bytes_broadcast(__m128i lane) { return {_mm512_broadcast_i32x4(lane)}; }
/// Sixteen bytes from `p` and every `stride` bytes further on.
inline Bytes bytes_gather(const std::byte* p, std::size_t stride) {
  const __m256i low =
      _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(p)), load_128(p + stride), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(p + 2 * stride)),
                                               load_128(p + 3 * stride), 1);
  return {_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)};
}
/// The same for 32 bytes: the first sixteen, then the second.
inline void bytes_gather_pairs(const std::byte* p, std::size_t stride, Bytes* first,
                               Bytes* second) {
  const auto two = [&](const std::byte* from) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(load_256(from)), load_256(from + stride), 1);
  };
  const __m512i low = two(p);
  const __m512i high = two(p + 2 * stride);
  first->v = _mm512_shuffle_i64x2(low, high, 0x88);
  second->v = _mm512_shuffle_i64x2(low, high, 0xdd);
}
inline Bytes operator&(Bytes a, Bytes b) { return {_mm512_and_si512(a.v, b.v)}; }
inline Bytes operator|(Bytes a, Bytes b) { return {_mm512_or_si512(a.v, b.v)}; }
inline Bytes operator^(Bytes a, Bytes b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Bytes operator+(Bytes a, Bytes b) { return {_mm512_add_epi8(a.v, b.v)}; }
inline Bytes low_nibbles(Bytes a) { return a & bytes_set(15); }
inline Bytes high_nibbles(Bytes a) { return low_nibbles({_mm512_srli_epi16(a.v, 4)}); }
/// table[a] in every lane; REQUIRES: bytes of a are below 16.
inline Bytes look_up(Bytes table, Bytes a) { return {_mm512_shuffle_epi8(table.v, a.v)}; }
/// Sixteen where the bit is set: bit i of the number belongs to byte i.
using ByteMask = std::uint64_t;
inline Bytes sixteen_where(ByteMask mask) {
  return {_mm512_maskz_mov_epi8(mask, _mm512_set1_epi8(16))};
}
/// Sixteen where a byte of `a` has bit `first + lane`.
inline Bytes sixteen_where_bit(Bytes a, int first) {
  const auto bit = [&](int lane) { return _mm_set1_epi8(static_cast<char>(1 << (first + lane))); };
  const __m256i low = _mm256_set_m128i(bit(1), bit(0));
  const __m256i high = _mm256_set_m128i(bit(3), bit(2));
  const __m512i wanted = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  return sixteen_where(_mm512_test_epi8_mask(a.v, wanted));
}
/// Lanes [0, 0, 2, 2] and [1, 1, 3, 3].
inline Bytes even_lanes(Bytes a) { return {_mm512_shuffle_i64x2(a.v, a.v, 0xa0)}; }
inline Bytes odd_lanes(Bytes a) { return {_mm512_shuffle_i64x2(a.v, a.v, 0xf5)}; }
/// Low nibbles of even lanes, high nibbles of odd ones.
inline Bytes alternate_nibbles(Bytes a) {
  const __m512i shifts = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                          0x0004000400040004, 0x0004000400040004, 0, 0);
  return low_nibbles({_mm512_srlv_epi16(a.v, shifts)});
}

#else

struct Bytes {
  __m256i v;
};

inline Bytes bytes_load(const void* p) { return {load_256(p)}; }
inline void bytes_store(std::uint8_t* p, Bytes a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}
inline Bytes bytes_set(int byte) { return {_mm256_set1_epi8(static_cast<char>(byte))}; }
inline Bytes bytes_broadcast(__m128i lane) { return {_mm256_broadcastsi128_si256(lane)}; }
inline Bytes bytes_gather(const std::byte* p, std::size_t stride) {
  return {_mm256_inserti128_si256(_mm256_castsi128_si256(load_128(p)), load_128(p + stride), 1)};
}
inline void bytes_gather_pairs(const std::byte* p, std::size_t stride, Bytes* first,
                               Bytes* second) {
  const __m256i low = load_256(p);
  const __m256i high = load_256(p + stride);
  first->v = _mm256_permute2x128_si256(low, high, 0x20);
  second->v = _mm256_permute2x128_si256(low, high, 0x31);
}
inline Bytes operator&(Bytes a, Bytes b) { return {_mm256_and_si256(a.v, b.v)}; }
inline Bytes operator|(Bytes a, Bytes b) { return {_mm256_or_si256(a.v, b.v)}; }
inline Bytes operator^(Bytes a, Bytes b) { return {_mm256_xor_si256(a.v, b.v)}; }
inline Bytes operator+(Bytes a, Bytes b) { return {_mm256_add_epi8(a.v, b.v)}; }
inline Bytes low_nibbles(Bytes a) { return a & bytes_set(15); }
inline Bytes high_nibbles(Bytes a) { return low_nibbles({_mm256_srli_epi16(a.v, 4)}); }
inline Bytes look_up(Bytes table, Bytes a) { return {_mm256_shuffle_epi8(table.v, a.v)}; }
using ByteMask = std::uint32_t;
inline Bytes sixteen_where(ByteMask mask) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(static_cast<std::int32_t>(mask)),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<std::int64_t>(0x8040201008040201));
  return Bytes{_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit)} & bytes_set(16);
}
inline Bytes sixteen_where_bit(Bytes a, int first) {
  const __m256i bit = _mm256_set_m128i(_mm_set1_epi8(static_cast<char>(2 << first)),
                                       _mm_set1_epi8(static_cast<char>(1 << first)));
  return Bytes{_mm256_cmpeq_epi8(_mm256_and_si256(a.v, bit), bit)} & bytes_set(16);
}
inline Bytes even_lanes(Bytes a) { return {_mm256_permute4x64_epi64(a.v, 0x44)}; }
inline Bytes odd_lanes(Bytes a) { return {_mm256_permute4x64_epi64(a.v, 0xee)}; }
inline Bytes alternate_nibbles(Bytes a) {
  return low_nibbles({_mm256_blend_epi32(a.v, _mm256_srli_epi16(a.v, 4), 0xf0)});
}

#endif

}  // namespace
}  // namespace sluice::SLUICE_ISA

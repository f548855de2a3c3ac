#pragma once
// What Debian's SIMDe lacks, or rounds otherwise, of the intrinsics that the kernels use: in plain
// code, for tests alone (intrinsics.h).

#include <cstdint>
#include <cstring>

#include "base/half.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Lane by lane from one register type to another; lanes beyond the narrower one's are dropped.
template <typename To, typename ToLane, typename From, typename FromLane, typename Convert>
inline To simde_convert(From from, const Convert& convert) {
  constexpr std::size_t kFrom = sizeof(From) / sizeof(FromLane), kTo = sizeof(To) / sizeof(ToLane);
  FromLane in[kFrom];
  ToLane out[kTo] = {};
  std::memcpy(in, &from, sizeof(in));
  for (std::size_t i = 0; i < (kFrom < kTo ? kFrom : kTo); ++i) out[i] = convert(in[i]);
  To to;
  std::memcpy(&to, out, sizeof(to));
  return to;
}

inline __m512i simde_cvtepi8_epi32(__m128i a) {
  return simde_convert<__m512i, std::int32_t, __m128i, std::int8_t>(
      a, [](std::int8_t x) { return std::int32_t{x}; });
}
inline __m512i simde_cvtepu8_epi32(__m128i a) {
  return simde_convert<__m512i, std::int32_t, __m128i, std::uint8_t>(
      a, [](std::uint8_t x) { return std::int32_t{x}; });
}
inline __m512i simde_cvtepi16_epi32(__m256i a) {
  return simde_convert<__m512i, std::int32_t, __m256i, std::int16_t>(
      a, [](std::int16_t x) { return std::int32_t{x}; });
}
inline __m128i simde_cvtepi32_epi8(__m512i a) {
  return simde_convert<__m128i, std::int8_t, __m512i, std::int32_t>(
      a, [](std::int32_t x) { return static_cast<std::int8_t>(x); });
}
inline __m256i simde_cvtepi32_epi16(__m512i a) {
  return simde_convert<__m256i, std::int16_t, __m512i, std::int32_t>(
      a, [](std::int32_t x) { return static_cast<std::int16_t>(x); });
}
inline __m512 simde_cvtepi32_ps(__m512i a) {
  return simde_convert<__m512, float, __m512i, std::int32_t>(
      a, [](std::int32_t x) { return static_cast<float>(x); });
}
inline __m512i simde_cvttps_epi32(__m512 a) {
  return simde_convert<__m512i, std::int32_t, __m512, float>(a, [](float x) {
    return x > -2147483648.0f && x < 2147483648.0f ? static_cast<std::int32_t>(x) : INT32_MIN;
  });
}
inline __m512 simde_cvtph_ps(__m256i a) {
  return simde_convert<__m512, float, __m256i, std::uint16_t>(a, half_to_float);
}
inline __m256i simde_cvtps_ph(__m512 a) {
  return simde_convert<__m256i, std::uint16_t, __m512, float>(a, float_to_half);
}
inline __m512i simde_srai_epi32(__m512i a, int by) {
  return simde_convert<__m512i, std::int32_t, __m512i, std::int32_t>(
      a, [by](std::int32_t x) { return x >> by; });
}

/// Two 128-bit lanes of each.
template <typename Register>
inline Register simde_shuffle_lanes(Register a, Register b, int lanes) {
  char from_a[64], from_b[64], out[64];
  std::memcpy(from_a, &a, 64);
  std::memcpy(from_b, &b, 64);
  for (int i = 0; i < 4; ++i) {
    std::memcpy(out + 16 * i, (i < 2 ? from_a : from_b) + 16 * (lanes >> (2 * i) & 3), 16);
  }
  Register r;
  std::memcpy(&r, out, 64);
  return r;
}

/// SIMDe's rounds twice.
template <typename Register>
inline Register simde_fmadd(Register a, Register b, Register c) {
  constexpr std::size_t kCount = sizeof(Register) / sizeof(float);
  float x[kCount], y[kCount], z[kCount];
  std::memcpy(x, &a, sizeof(a));
  std::memcpy(y, &b, sizeof(b));
  std::memcpy(z, &c, sizeof(c));
  for (std::size_t i = 0; i < kCount; ++i) z[i] = __builtin_fmaf(x[i], y[i], z[i]);
  std::memcpy(&c, z, sizeof(c));
  return c;
}

/// SIMDe's leaves -0.
inline __m512 simde_abs_ps(__m512 a) {
  return simde_convert<__m512, float, __m512, float>(a, [](float x) { return __builtin_fabsf(x); });
}

/// Its alias takes the masked form's arguments.
inline __m512i simde_madd_epi16(__m512i a, __m512i b) {
  std::int16_t x[32], y[32];
  std::int32_t sums[16];
  std::memcpy(x, &a, sizeof(x));
  std::memcpy(y, &b, sizeof(y));
  for (int i = 0; i < 16; ++i) sums[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  __m512i r;
  std::memcpy(&r, sums, sizeof(r));
  return r;
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

#undef _mm256_fmadd_ps
#undef _mm512_fmadd_ps
#undef _mm512_madd_epi16
#undef _mm512_abs_ps
#define _mm256_fmadd_ps(a, b, c) simde_fmadd(a, b, c)
#define _mm512_fmadd_ps(a, b, c) simde_fmadd(a, b, c)
#define _mm512_madd_epi16(a, b) simde_madd_epi16(a, b)
#define _mm512_abs_ps(a) simde_abs_ps(a)
#define _mm512_cvtepi8_epi32(a) simde_cvtepi8_epi32(a)
#define _mm512_cvtepu8_epi32(a) simde_cvtepu8_epi32(a)
#define _mm512_cvtepi16_epi32(a) simde_cvtepi16_epi32(a)
#define _mm512_cvtepi32_epi8(a) simde_cvtepi32_epi8(a)
#define _mm512_cvtepi32_epi16(a) simde_cvtepi32_epi16(a)
#define _mm512_cvtepi32_ps(a) simde_cvtepi32_ps(a)
#define _mm512_cvttps_epi32(a) simde_cvttps_epi32(a)
#define _mm512_cvtph_ps(a) simde_cvtph_ps(a)
#define _mm512_cvtps_ph(a, rounding) simde_cvtps_ph(a)
#define _mm512_srai_epi32(a, by) simde_srai_epi32(a, by)
#define _mm512_shuffle_f32x4(a, b, lanes) simde_shuffle_lanes(a, b, lanes)
#define _mm512_shuffle_i64x2(a, b, lanes) simde_shuffle_lanes(a, b, lanes)
#ifndef _MM_FROUND_NO_EXC
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#endif

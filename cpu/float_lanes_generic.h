#pragma once
// Sixteen float lanes in plain code (float_lanes.h): what the other instruction sets must agree
// with, bit for bit.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/canonical.h"
#include "base/half.h"

namespace sluice::SLUICE_ISA {
namespace {

struct Lanes {
  float v[16];
};

/// Dot products that a register tile holds.
constexpr int kTile = 4;

inline Lanes lanes_zero() { return Lanes{}; }
inline Lanes lanes_set(float x) {
  Lanes r;
  for (float& lane : r.v) lane = x;
  return r;
}
inline Lanes lanes_load(const float* p) {
  Lanes r;
  std::memcpy(r.v, p, sizeof(r.v));
  return r;
}
inline void lanes_store(float* p, const Lanes& a) { std::memcpy(p, a.v, sizeof(a.v)); }
/// 16 halves.
inline Lanes lanes_load_half(const std::byte* p) {
  std::uint16_t halves[16];
  std::memcpy(halves, p, sizeof(halves));
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = half_to_float(halves[i]);
  return r;
}
inline void lanes_store_half(std::byte* p, const Lanes& a) {
  std::uint16_t halves[16];
  for (int i = 0; i < 16; ++i) halves[i] = float_to_half(a.v[i]);
  std::memcpy(p, halves, sizeof(halves));
}
/// One half.
inline float load_half(const std::byte* p) {
  std::uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  return half_to_float(half);
}
inline void store_half(std::byte* p, float x) {
  const std::uint16_t half = float_to_half(x);
  std::memcpy(p, &half, sizeof(half));
}
/// 16 signed bytes.
inline Lanes lanes_load_codes(const std::byte* p) {
  std::int8_t codes[16];
  std::memcpy(codes, p, sizeof(codes));
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(codes[i]);
  return r;
}
/// REQUIRES: lanes are whole numbers in [-127, 127].
inline void lanes_store_codes(std::byte* p, const Lanes& a) {
  std::int8_t codes[16];
  for (int i = 0; i < 16; ++i) codes[i] = static_cast<std::int8_t>(a.v[i]);
  std::memcpy(p, codes, sizeof(codes));
}
inline Lanes operator+(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] + b.v[i];
  return r;
}
inline Lanes operator-(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] - b.v[i];
  return r;
}
inline Lanes operator*(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] * b.v[i];
  return r;
}
inline Lanes operator/(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] / b.v[i];
  return r;
}
inline Lanes lanes_fma(const Lanes& a, const Lanes& b, const Lanes& c) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return r;
}
/// The second where either is not a number, as x86 has it.
inline Lanes lanes_max(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return r;
}
inline Lanes lanes_min(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return r;
}
inline Lanes lanes_abs(const Lanes& a) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = __builtin_fabsf(a.v[i]);
  return r;
}
/// Towards zero.
inline Lanes lanes_truncate(const Lanes& a) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = __builtin_truncf(a.v[i]);
  return r;
}
inline float lanes_largest(const Lanes& a) {
  float largest = a.v[0];
  for (float lane : a.v) largest = lane > largest ? lane : largest;
  return largest;
}
/// Of both; not a number where any lane is none. Without their signs floats are in the order of
/// their bits, and what is not a number comes after infinity.
inline float lanes_largest_magnitude(const Lanes& a, const Lanes& b) {
  std::uint32_t largest = 0;
  for (const Lanes* lanes : {&a, &b}) {
    for (const float lane : lanes->v) {
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(lane) & 0x7fffffffu;
      largest = bits > largest ? bits : largest;
    }
  }
  return std::bit_cast<float>(largest);
}
inline float lanes_sum(Lanes a) { return reduce_lanes(a.v); }
/// sums[i] = lanes_sum(tile[i]) for the kTile lanes of a tile.
inline void lanes_sum_tile(const Lanes* tile, float* sums) {
  for (int i = 0; i < kTile; ++i) sums[i] = lanes_sum(tile[i]);
}
inline Lanes lanes_exp(const Lanes& a) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = canonical_exp(a.v[i]);
  return r;
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

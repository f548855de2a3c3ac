#pragma once
// The quantised dot's integers in plain code (code_lanes.h). Codes are signed here, with an offset
// of zero.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Sixteen 32-bit integers.
struct Ints {
  std::int32_t v[16];
};

/// Strips of weight rows and activation rows that a register tile of the prefill holds.
constexpr std::size_t kRegisterStrips = 1;
constexpr std::size_t kRegisterRows = 4;

constexpr std::size_t kInterleave = 1;
/// Interleaves 512 codes in place.
inline void interleave(std::int8_t*) {}

inline Ints ints_set(std::int32_t x) {
  Ints r;
  for (std::int32_t& lane : r.v) lane = x;
  return r;
}
inline Ints ints_load(const std::int32_t* p) {
  Ints r;
  std::memcpy(r.v, p, sizeof(r.v));
  return r;
}
inline void ints_store(std::int32_t* p, const Ints& a) { std::memcpy(p, a.v, sizeof(a.v)); }
inline Ints operator+(const Ints& a, const Ints& b) {
  Ints r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] + b.v[i];
  return r;
}
inline Lanes to_lanes(const Ints& a) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(a.v[i]);
  return r;
}

/// lanes_load of what was stored in halves a moment ago: a load that is wider than the store waits
/// for it to reach the cache.
inline Lanes lanes_load_fresh(const float* p) { return lanes_load(p); }

/// 16 bfloat16.
inline Lanes lanes_load_bf16(const std::byte* p) {
  std::uint16_t tops[16];
  std::memcpy(tops, p, sizeof(tops));
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = bf16_to_float(tops[i]);
  return r;
}

/// Codes of 16 weight rows, four of each.
struct CodePanel {
  std::int8_t v[64];
};
inline CodePanel panel_load(const std::uint8_t* p) {
  CodePanel r;
  std::memcpy(r.v, p, sizeof(r.v));
  return r;
}
/// sums[row] plus the dot of the row's four codes and x's four.
template <bool kWide>
inline Ints dot_4(const Ints& sums, const CodePanel& codes, const std::int8_t* x) {
  Ints r;
  for (int row = 0; row < 16; ++row) {
    const std::int8_t* const w = codes.v + 4 * row;
    r.v[row] = sums.v[row] + w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3];
  }
  return r;
}

/// Dots of a segment's groups: `sums` has 512 / kGroup integers, codes and x have 512 bytes.
template <std::size_t kGroup, bool kWide>
inline void group_dots(const std::uint8_t* codes, const std::int8_t* x, Ints* sums) {
  for (std::size_t group = 0; group < 512 / kGroup; ++group) {
    std::int32_t sum = 0;
    for (std::size_t i = group * kGroup; i < (group + 1) * kGroup; ++i) {
      sum += static_cast<std::int8_t>(codes[i]) * x[i];
    }
    sums[group / 16].v[group % 16] = sum;
  }
}

/// Sums of each kGroup of 512 activation codes times `factor`, from the sums of each 16 (32 of
/// them).
template <std::size_t kGroup>
inline void group_sums(const std::int16_t* sixteens, int factor, Ints* sums) {
  for (std::size_t group = 0; group < 512 / kGroup; ++group) {
    std::int32_t sum = sixteens[group * kGroup / 16];
    if (kGroup == 32) sum += sixteens[group * 2 + 1];
    sums[group / 16].v[group % 16] = sum * factor;
  }
}

/// Four columns of a 16-row matrix: columns[j] has element j of each row. Rows are `stride` floats
/// apart; bits are kept.
inline void transpose_4(const float* rows, std::size_t stride, Lanes* columns) {
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t j = 0; j < 4; ++j) columns[j].v[row] = rows[row * stride + j];
  }
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

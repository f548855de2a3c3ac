#pragma once
// The quantised dot's integers in plain code (code_lanes.h).

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

/// A 32-bit integer of each row.
struct Ints {
  std::int32_t v[16];
};
/// Four bytes of each row; the first is the lowest of the row's 32 bits.
struct Words {
  std::uint32_t v[16];
};

/// Up to so many activation rows meet codes as they are unpacked; more of them meet a panel.
constexpr std::size_t kFewRows = 1;
/// Strips of weight rows and activation rows that a register tile of the prefill holds.
constexpr std::size_t kRegisterStrips = 1;
constexpr std::size_t kRegisterRows = 4;

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

inline Words words_load(const void* p) {
  Words r;
  std::memcpy(r.v, p, sizeof(r.v));
  return r;
}
inline void words_store(void* p, const Words& a) { std::memcpy(p, a.v, sizeof(a.v)); }
inline Words words_set(std::uint32_t word) {
  Words r;
  for (std::uint32_t& lane : r.v) lane = word;
  return r;
}
inline Words operator&(const Words& a, const Words& b) {
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] & b.v[i];
  return r;
}
inline Words operator|(const Words& a, const Words& b) {
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] | b.v[i];
  return r;
}
inline Words operator^(const Words& a, const Words& b) {
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] ^ b.v[i];
  return r;
}
/// mask ? a : b, bit by bit.
inline Words words_select(const Words& mask, const Words& a, const Words& b) {
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = (a.v[i] & mask.v[i]) | (b.v[i] & ~mask.v[i]);
  return r;
}
template <int kBits>
inline Words shift_right(const Words& a) {
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] >> kBits;
  return r;
}
template <int kBits>
inline Words shift_left(const Words& a) {
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] << kBits;
  return r;
}
/// Sixteen bytes, value + offset each, to be looked up.
struct ByteTable {
  std::uint8_t v[16];
};
inline ByteTable byte_table(const std::int8_t (&values)[16], int offset) {
  ByteTable r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<std::uint8_t>(values[i] + offset);
  return r;
}
/// table[byte] for every byte; REQUIRES: bytes are below 16.
inline Words look_up(const ByteTable& table, const Words& a) {
  Words r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = 0;
    for (int byte = 0; byte < 32; byte += 8) {
      r.v[i] |= std::uint32_t{table.v[a.v[i] >> byte & 15]} << byte;
    }
  }
  return r;
}
/// Four of a row's bits, from bit kFirst on (a multiple of four), one to a byte: 16 where it is
/// set.
template <int kFirst>
inline Words sixteens(const Words& bits) {
  Words r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = 0;
    for (int byte = 0; byte < 4; ++byte) {
      r.v[i] |= (bits.v[i] >> (kFirst + byte) & 1) << (8 * byte + 4);
    }
  }
  return r;
}
/// Sixteen pairs of words, a row's side by side → the first or the second of each.
template <int kSecond>
inline Words words_load_of_pairs(const void* p) {
  std::uint32_t pairs[16][2];
  std::memcpy(pairs, p, sizeof(pairs));
  Words r;
  for (int i = 0; i < 16; ++i) r.v[i] = pairs[i][kSecond];
  return r;
}
/// kOffset plus each byte, or minus it where its bit of the row's `signs` is set: four bits from
/// bit kFirst on, a multiple of four. REQUIRES: bytes are at most kOffset, and twice kOffset below
/// 256.
template <int kOffset, int kFirst>
inline Words with_signs(const Words& magnitudes, const Words& signs) {
  Words r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = 0;
    for (int byte = 0; byte < 4; ++byte) {
      const auto magnitude = static_cast<int>(magnitudes.v[i] >> (8 * byte) & 255);
      const bool minus = (signs.v[i] >> (kFirst + byte) & 1) != 0;
      r.v[i] |= static_cast<std::uint32_t>(minus ? kOffset - magnitude : kOffset + magnitude)
                << (8 * byte);
    }
  }
  return r;
}
/// The 16-bit halves of each row times kFactor, modulo 2^16.
template <int kFactor>
inline Words halves_times(const Words& a) {
  Words r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = (a.v[i] & 0xffff) * kFactor & 0xffff;
    r.v[i] |= (a.v[i] >> 16) * kFactor << 16;
  }
  return r;
}
/// One byte of each row, as it is or with its sign.
template <int kByte>
inline Ints unsigned_byte(const Words& a) {
  Ints r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<std::int32_t>(a.v[i] >> (8 * kByte) & 255);
  return r;
}
template <int kByte>
inline Ints signed_byte(const Words& a) {
  Ints r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<std::int8_t>(a.v[i] >> (8 * kByte) & 255);
  return r;
}
/// The float16 in the lower or the upper half of each row's bits.
inline Lanes low_halves(const Words& a) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = half_to_float(static_cast<std::uint16_t>(a.v[i] & 0xffff));
  return r;
}
inline Lanes high_halves(const Words& a) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = half_to_float(static_cast<std::uint16_t>(a.v[i] >> 16));
  return r;
}
/// 2^(exponent - 128) of sixteen bytes; those of the two smallest are subnormal.
inline Lanes lanes_load_powers(const std::byte* exponents) {
  Lanes r;
  for (int i = 0; i < 16; ++i) {
    const auto e = static_cast<std::uint32_t>(exponents[i]);
    const std::uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
    std::memcpy(&r.v[i], &bits, sizeof(bits));
  }
  return r;
}
/// (1 + m / 8) 2^(e - 127 + base) of sixteen bytes, e being the upper five bits and m the others.
inline Lanes lanes_load_small_floats(const std::byte* bytes, std::uint8_t base) {
  Lanes r;
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t bits =
        (static_cast<std::uint32_t>(bytes[i]) << 20) + (std::uint32_t{base} << 23);
    std::memcpy(&r.v[i], &bits, sizeof(bits));
  }
  return r;
}
/// Of eight bytes: the lower nibbles are rows 0 to 7's, the upper ones rows 8 to 15's.
inline Ints nibbles_of_rows(const std::byte* bytes) {
  Ints r;
  for (int i = 0; i < 8; ++i) {
    r.v[i] = static_cast<std::int32_t>(bytes[i] & std::byte{15});
    r.v[i + 8] = static_cast<std::int32_t>(bytes[i] >> 4);
  }
  return r;
}
template <int kBits>
inline Ints shift_left(const Ints& a) {
  Ints r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] << kBits;
  return r;
}
/// sums + a * x; REQUIRES: all of a and x fit into 16 bits.
inline Ints add_products(const Ints& sums, const Ints& a, std::int32_t x) {
  Ints r;
  for (int i = 0; i < 16; ++i) r.v[i] = sums.v[i] + a.v[i] * x;
  return r;
}
/// 16 bfloat16.
inline Lanes lanes_load_bf16(const std::byte* p) {
  std::uint16_t tops[16];
  std::memcpy(tops, p, sizeof(tops));
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = bf16_to_float(tops[i]);
  return r;
}

/// sums[row] plus the dot of the row's four codes and x's four.
template <bool kWide>
inline Ints dot_4(const Ints& sums, const Words& codes, const std::int8_t* x) {
  Ints r;
  for (int row = 0; row < 16; ++row) {
    std::int32_t sum = sums.v[row];
    for (int i = 0; i < 4; ++i) {
      sum += static_cast<std::int32_t>(codes.v[row] >> (8 * i) & 255) * x[i];
    }
    r.v[row] = sum;
  }
  return r;
}

/// A half of each of sixteen rows that lie `stride` bytes apart → 32 bytes.
inline void gather_halves(const std::byte* rows, std::size_t stride, std::byte* out) {
  for (std::size_t row = 0; row < 16; ++row) std::memcpy(out + 2 * row, rows + row * stride, 2);
}

/// Four words of each of sixteen rows that lie `stride` bytes apart: columns[j] has word j of each.
inline void transpose_4(const std::byte* rows, std::size_t stride, Words* columns) {
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t j = 0; j < 4; ++j) {
      std::memcpy(&columns[j].v[row], rows + row * stride + 4 * j, sizeof(std::uint32_t));
    }
  }
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

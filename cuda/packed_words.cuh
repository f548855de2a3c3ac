#pragma once
// Reading packed codes out of shared memory, four bytes a word, and taking them apart side by side.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cuda/device.cuh"

namespace sluice::cuda {

/// The largest power of two <= 16 that divides `offset`: what is known of an address that far
/// behind one that is a multiple of 16.
constexpr int alignment_at(int offset) {
  int alignment = 16;
  while (offset % alignment != 0) alignment /= 2;
  return alignment;
}

template <typename T>
__device__ __forceinline__ T load_aligned(const unsigned char* at) {
  T value;
  memcpy(&value, __builtin_assume_aligned(at, sizeof(T)), sizeof(T));
  return value;
}

/// N words of shared memory from an address of which `kAlign` is known. May read up to three bytes
/// before and behind them, never outside the aligned words that hold them.
template <int N, int kAlign>
__device__ __forceinline__ void load_words(const unsigned char* at, std::uint32_t (&words)[N]) {
  if constexpr (kAlign == 16 && N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const uint4 four = load_aligned<uint4>(at + 4 * i);
      words[i] = four.x;
      words[i + 1] = four.y;
      words[i + 2] = four.z;
      words[i + 3] = four.w;
    }
  } else if constexpr (kAlign >= 4) {
#pragma unroll
    for (int i = 0; i < N; ++i) words[i] = load_aligned<std::uint32_t>(at + 4 * i);
  } else {
    const unsigned misfit = shared_address(at) & 3;
    const unsigned char* const base = at - misfit;
    std::uint32_t low = load_aligned<std::uint32_t>(base);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const auto high = load_aligned<std::uint32_t>(base + 4 * i + 4);
      words[i] = __funnelshift_r(low, high, 8 * misfit);
      low = high;
    }
  }
}

__device__ __forceinline__ float load_half(const unsigned char* at) {
  return half_bits_to_float(load_aligned<std::uint16_t>(at));
}

/// The low (shift 0) or high (shift 4) nibbles of each byte.
__device__ __forceinline__ std::uint32_t nibbles(std::uint32_t word, int shift) {
  return word >> shift & 0x0f0f0f0fu;
}

/// Bits 0-3 of `bits` as bit 4 of the four bytes.
__device__ __forceinline__ std::uint32_t spread_fifth_bits(std::uint32_t bits) {
  return (bits & 15u) * 0x02040810u & 0x10101010u;
}

/// Four codes less kOffset each. REQUIRES: they are from 0 to 127.
template <int kOffset>
__device__ __forceinline__ std::uint32_t less_offset(std::uint32_t codes) {
  if constexpr (kOffset == 0) return codes;
  // With upper bits set no byte borrows from the next.
  constexpr std::uint32_t kUpper = 0x80808080u;
  return ((codes | kUpper) - kOffset * 0x01010101u) ^ kUpper;
}

/// Sixteen signed bytes, looked up by nibble.
struct ByteTable {
  std::uint32_t words[4];
};

/// The entries for the eight nibbles of `word` as two words, in the order of the nibbles: the low
/// one of a byte, then its high one.
__device__ __forceinline__ void look_up(const ByteTable& table, std::uint32_t word,
                                        std::uint32_t& front, std::uint32_t& back) {
  // permute_bytes chooses among eight bytes by the low three bits of a nibble; the fourth bit then
  // chooses between the table's halves.
  const std::uint32_t entry = word & 0x77777777u;
  const std::uint32_t upper = 0x32103210u | (word >> 1 & 0x44444444u);
  front = permute_bytes(permute_bytes(table.words[0], table.words[1], entry),
                        permute_bytes(table.words[2], table.words[3], entry), upper);
  back = permute_bytes(permute_bytes(table.words[0], table.words[1], entry >> 16),
                       permute_bytes(table.words[2], table.words[3], entry >> 16), upper >> 16);
}

/// The bytes of look_up's words in order: those of the low nibbles of a word, then of the high ones.
__device__ __forceinline__ void straighten(std::uint32_t& front, std::uint32_t& back) {
  const std::uint32_t low = permute_bytes(front, back, 0x6420);
  back = permute_bytes(front, back, 0x7531);
  front = low;
}

/// Brings bytes into look_up's order: `low` meets the low nibbles of a word, `high` the high ones.
__device__ __forceinline__ void interleave(std::uint32_t& low, std::uint32_t& high) {
  const std::uint32_t front = permute_bytes(low, high, 0x5140);
  high = permute_bytes(low, high, 0x7362);
  low = front;
}

}  // namespace sluice::cuda

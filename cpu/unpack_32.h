#pragma once
// Unpacking of the formats whose blocks have 32 codes, with AVX2 and up, kInterleave blocks at a
// time. SegmentFormat::unpack (segment_codes.h) says what each function does; codes come out
// interleaved (code_lanes.h).

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/quant_blocks.h"
#include "base/tensor_format.h"
#include "cpu/block_bytes.h"
#include "cpu/segment_codes.h"

namespace sluice::SLUICE_ISA {
namespace {

#if SLUICE_ISA_LEVEL >= 2

/// Several neighbouring blocks' halves in a register: those of kCount blocks lie in the 128 bytes
/// that two loads cover, whence one shuffle picks them. (Inserting them one by one costs more than
/// all the rest of Q4_0's unpacking.)
template <std::size_t kStride>
struct HalvesPicker {
  static constexpr std::size_t kCount = 7 * kStride + 2 <= 128 ? 8 : 4;
  static constexpr std::size_t kBytes = (kCount - 1) * kStride + 2;
  static constexpr std::size_t kSecond =
      kBytes > 64 ? kBytes - 64 : 0;  // where the second load begins
  static_assert(kBytes <= 128 && kStride % 2 == 0);

  struct Order {
    alignas(64) std::int16_t words[32] = {};
    constexpr Order() {
      for (std::size_t i = 0; i < kCount; ++i) {
        const std::size_t at = i * kStride;
        words[i] = static_cast<std::int16_t>(at < 64 ? at / 2 : (at - kSecond) / 2 + 32);
      }
    }
  };
  static constexpr Order kOrder{};

  /// REQUIRES: 64 bytes from p on, and kBytes, may be read.
  __m128i operator()(const std::byte* p) const {
    return _mm512_castsi512_si128(_mm512_permutex2var_epi16(
        _mm512_loadu_si512(p), _mm512_load_si512(kOrder.words), _mm512_loadu_si512(p + kSecond)));
  }
};

/// Eight of the halves at `p` and every kStride bytes further on. REQUIRES: the blocks'
/// bytes may be read.
template <std::size_t kStride>
inline __m128i pick_eight(const std::byte* p) {
  const HalvesPicker<kStride> pick;
  const __m128i first = pick(p);
  if constexpr (pick.kCount == 8) return first;
  return _mm_unpacklo_epi64(first, pick(p + 4 * kStride));
}

/// The halves at `p` and every kStride bytes further on → float32. REQUIRES: with `count` blocks
/// all bytes of them may be read.
template <std::size_t kStride>
inline void gather_halves(const std::byte* p, std::size_t count, float* out) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(pick_eight<kStride>(p + i * kStride)));
  }
  for (; i < count; ++i) out[i] = load_half(p + i * kStride);
}

/// The same, kept as they are. REQUIRES: count is a multiple of eight.
template <std::size_t kStride>
inline void gather_halves(const std::byte* p, std::size_t count, HalfRow out) {
  for (std::size_t i = 0; i < count; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.eight(i / 8)),
                     pick_eight<kStride>(p + i * kStride));
  }
}

#else

/// The halves at `p` and every kStride bytes further on → float32.
template <std::size_t kStride>
inline void gather_halves(const std::byte* p, std::size_t count, float* out) {
  const auto at = [&](std::size_t i) {
    std::int16_t half;
    std::memcpy(&half, p + i * kStride, sizeof(half));
    return half;
  };
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m128i halves = _mm_cvtsi32_si128(at(i));
    halves = _mm_insert_epi16(halves, at(i + 1), 1);
    halves = _mm_insert_epi16(halves, at(i + 2), 2);
    halves = _mm_insert_epi16(halves, at(i + 3), 3);
    halves = _mm_insert_epi16(halves, at(i + 4), 4);
    halves = _mm_insert_epi16(halves, at(i + 5), 5);
    halves = _mm_insert_epi16(halves, at(i + 6), 6);
    halves = _mm_insert_epi16(halves, at(i + 7), 7);
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
  for (; i < count; ++i) out[i] = load_half(p + i * kStride);
}

#endif

/// Where codes go: `put(at, first, second)` takes, of kInterleave groups from the at-th code of the
/// segment on, the first and the second sixteen codes of each.
struct CodeSink {
  std::uint8_t* codes;
  void put(std::size_t at, Bytes first, Bytes second) const {
    bytes_store(codes + at, first);
    bytes_store(codes + at + 16 * kInterleave, second);
  }
};

/// Multiplies codes at once instead of storing them.
template <bool kWide>
struct DotSink {
  const std::int8_t* x;
  DotParts parts = {};
  void put(std::size_t at, Bytes first, Bytes second) {
    const auto part = dot_bytes<kWide>(bytes_set(0).v, first.v, bytes_load(x + at).v);
    parts[at / (32 * kInterleave)] =
        dot_bytes<kWide>(part, second.v, bytes_load(x + at + 16 * kInterleave).v);
  }
};

/// A number of elements that the compiler knows, so that a DotSink stays in registers.
template <std::size_t kElements>
struct KnownElements {
  constexpr operator std::size_t() const { return kElements; }
};

// The formats. `unpack` takes the number of elements as std::size_t or KnownElements; kOffset and
// kWide as code_lanes.h has them.
#if SLUICE_ISA_LEVEL >= 3
constexpr int kEightBitOffset = 128;
#else
constexpr int kEightBitOffset = 0;
#endif
constexpr bool kEightBitsAreWide = kEightBitOffset == 0;

/// Hands kInterleave blocks at a time to `use(blocks, at)`; what is left over goes through a padded
/// copy.
template <typename Block, typename Elements, typename Use>
inline void for_each_blocks(const std::byte* blocks, Elements elements, const Use& use) {
  constexpr std::size_t kStep = 32 * kInterleave;
  std::size_t i = 0;
  for (; i + kStep <= elements; i += kStep) {
    use(blocks, i);
    blocks += kInterleave * sizeof(Block);
  }
  if (i < elements) {
    std::byte padded[kInterleave * sizeof(Block)] = {};
    std::memcpy(padded, blocks, (elements - i) / 32 * sizeof(Block));
    use(padded, i);
  }
}

/// Codes that are what `meaning` makes of the nibbles at kAt in each block.
template <typename Block, std::size_t kAt, typename Elements, typename Sink, typename Meaning>
inline void unpack_nibbles(const std::byte* blocks, Elements elements, Sink& sink,
                           const Meaning& meaning) {
  for_each_blocks<Block>(blocks, elements, [&](const std::byte* from, std::size_t at) {
    const Bytes both = bytes_gather(from + kAt, sizeof(Block));
    sink.put(at, meaning(low_nibbles(both)), meaning(high_nibbles(both)));
  });
}

/// The same with a fifth bit for each, from a word at kBits.
template <typename Block, std::size_t kAt, std::size_t kBits, typename Elements, typename Sink>
inline void unpack_five_bits(const std::byte* blocks, Elements elements, Sink& sink) {
  for_each_blocks<Block>(blocks, elements, [&](const std::byte* from, std::size_t at) {
    ByteMask first = 0, second = 0;
    for (std::size_t i = 0; i < kInterleave; ++i) {
      std::uint16_t halves[2];
      std::memcpy(halves, from + i * sizeof(Block) + kBits, sizeof(halves));
      first |= ByteMask{halves[0]} << (16 * i);
      second |= ByteMask{halves[1]} << (16 * i);
    }
    const Bytes both = bytes_gather(from + kAt, sizeof(Block));
    sink.put(at, low_nibbles(both) | sixteen_where(first),
             high_nibbles(both) | sixteen_where(second));
  });
}

/// What sixteen values that nibbles stand for become with an offset.
inline Bytes nibble_table(const std::int8_t (&values)[16], int offset) {
  return bytes_broadcast(load_128(values)) + bytes_set(offset);
}

constexpr auto kAsItIs = [](Bytes nibbles) { return nibbles; };

struct Q8_0Codes {
  static constexpr int kOffset = kEightBitOffset;
  static constexpr bool kWide = kEightBitsAreWide;
  static constexpr bool kHalves = kScalesStayHalves;
  template <typename Elements, typename Sink, typename Scales>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, Scales scales,
                     Scales) {
    gather_halves<sizeof(Q8_0Block)>(blocks, elements / 32, scales);
    const Bytes flip = bytes_set(kOffset);
    for_each_blocks<Q8_0Block>(blocks, elements, [&](const std::byte* from, std::size_t at) {
      Bytes first, second;
      bytes_gather_pairs(from + 2, sizeof(Q8_0Block), &first, &second);
      sink.put(at, first ^ flip, second ^ flip);
    });
  }
};

struct Q4_0Codes {
  static constexpr int kOffset = 8;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = kScalesStayHalves;
  template <typename Elements, typename Sink, typename Scales>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, Scales scales,
                     Scales) {
    gather_halves<sizeof(Q4_0Block)>(blocks, elements / 32, scales);
    unpack_nibbles<Q4_0Block, 2>(blocks, elements, sink, kAsItIs);
  }
};

struct Q4_1Codes {
  static constexpr int kOffset = 0;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = kScalesStayHalves;
  template <typename Elements, typename Sink, typename Scales>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, Scales scales,
                     Scales mins) {
    gather_halves<sizeof(Q4_1Block)>(blocks, elements / 32, scales);
    gather_halves<sizeof(Q4_1Block)>(blocks + 2, elements / 32, mins);
    unpack_nibbles<Q4_1Block, 4>(blocks, elements, sink, kAsItIs);
  }
};

struct Q5_0Codes {
  static constexpr int kOffset = 16;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = kScalesStayHalves;
  template <typename Elements, typename Sink, typename Scales>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, Scales scales,
                     Scales) {
    gather_halves<sizeof(Q5_0Block)>(blocks, elements / 32, scales);
    unpack_five_bits<Q5_0Block, 6, 2>(blocks, elements, sink);
  }
};

struct Q5_1Codes {
  static constexpr int kOffset = 0;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = kScalesStayHalves;
  template <typename Elements, typename Sink, typename Scales>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, Scales scales,
                     Scales mins) {
    gather_halves<sizeof(Q5_1Block)>(blocks, elements / 32, scales);
    gather_halves<sizeof(Q5_1Block)>(blocks + 2, elements / 32, mins);
    unpack_five_bits<Q5_1Block, 8, 4>(blocks, elements, sink);
  }
};

struct IQ4_NLCodes {
  static constexpr int kOffset = kEightBitOffset;
  static constexpr bool kWide = kEightBitsAreWide;
  static constexpr bool kHalves = kScalesStayHalves;
  template <typename Elements, typename Sink, typename Scales>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, Scales scales,
                     Scales) {
    gather_halves<sizeof(IQ4_NLBlock)>(blocks, elements / 32, scales);
    const Bytes table = nibble_table(kIq4Values, kOffset);
    unpack_nibbles<IQ4_NLBlock, 2>(blocks, elements, sink,
                                   [&](Bytes nibbles) { return look_up(table, nibbles); });
  }
};

/// 2^(exponent - 128) of eight exponents, a byte each; those of the two smallest are subnormal.
inline void store_powers(std::uint64_t exponents, float* out) {
  const __m256i e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<std::int64_t>(exponents)));
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  const __m256i is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
  _mm256_storeu_ps(out, _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal)));
}

struct MXFP4Codes {
  static constexpr int kOffset = 12;
  static constexpr bool kWide = false;
  static constexpr bool kHalves = false;
  template <typename Elements, typename Sink>
  static void unpack(const std::byte* blocks, Elements elements, Sink& sink, float* scales,
                     float*) {
    const auto exponent = [&](std::size_t i) {
      return static_cast<std::uint64_t>(blocks[i * sizeof(MXFP4Block)]);
    };
    std::size_t i = 0;
    for (; i + 8 <= elements / 32; i += 8) {
      const std::uint64_t first =
          exponent(i) | exponent(i + 1) << 8 | exponent(i + 2) << 16 | exponent(i + 3) << 24;
      const std::uint64_t second =
          exponent(i + 4) | exponent(i + 5) << 8 | exponent(i + 6) << 16 | exponent(i + 7) << 24;
      store_powers(first | second << 32, scales + i);
    }
    for (; i < elements / 32; ++i) {
      float powers[8];
      store_powers(exponent(i), powers);
      scales[i] = powers[0];
    }
    const Bytes table = nibble_table(kFp4TwiceValues, kOffset);
    unpack_nibbles<MXFP4Block, 1>(blocks, elements, sink,
                                  [&](Bytes nibbles) { return look_up(table, nibbles); });
  }
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

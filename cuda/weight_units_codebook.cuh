#pragma once
// GGUF's IQ1, IQ2 and IQ3 formats (base/codebook_blocks.h): a block's indices choose the codes of
// eight or four elements at once. A unit is 32 elements in all of them; see weight_units_32.cuh.
//
// The codebooks lie in the device's memory, up to 16 KiB each: every lane asks for another entry,
// which constant memory would serve one by one.

#include <cstdint>

#include "base/codebook_entries.h"
#include "cuda/packed_words.cuh"
#include "cuda/weight_units_256.cuh"

namespace sluice::cuda {

static __device__ const Codebook<std::uint64_t, 256> kIq2XxsBook = codebook::iq2_xxs();
static __device__ const Codebook<std::uint64_t, 512> kIq2XsBook = codebook::iq2_xs();
static __device__ const Codebook<std::uint64_t, 1024> kIq2SBook = codebook::iq2_s();
static __device__ const Codebook<std::uint32_t, 256> kIq3XxsBook = codebook::iq3_xxs();
static __device__ const Codebook<std::uint32_t, 512> kIq3SBook = codebook::iq3_s();
static __device__ const Codebook<std::uint64_t, 2048> kIq1Book = codebook::iq1();

template <int kBytesOfBlock, int kGroupOfCodes, int kCodeOffset>
using CodebookUnit = Unit256<kBytesOfBlock, kGroupOfCodes, 32 / kGroupOfCodes, false, kCodeOffset>;

/// Byte `index` of a word.
__device__ __forceinline__ std::uint32_t byte_of(std::uint32_t word, int index) {
  return word >> 8 * index & 0xff;
}

/// The eighth sign makes their number even.
__device__ __forceinline__ std::uint32_t eight_signs(std::uint32_t seven) {
  return seven | static_cast<std::uint32_t>(__popc(seven) & 1) << 7;
}

/// Four magnitudes, of which those become negative whose bit of `signs` is set. REQUIRES: none is
/// zero, so that no byte carries into the next.
__device__ __forceinline__ std::uint32_t with_signs(std::uint32_t magnitudes, std::uint32_t signs) {
  const std::uint32_t ones = (signs & 15u) * 0x00204081u & 0x01010101u;
  return (magnitudes ^ ones * 0xffu) + ones;
}

/// Run `run` of eight codes.
template <int N>
__device__ __forceinline__ void put_run(std::uint64_t magnitudes, std::uint32_t signs, int run,
                                        std::uint32_t (&codes)[N]) {
  codes[2 * run] = with_signs(static_cast<std::uint32_t>(magnitudes), signs);
  codes[2 * run + 1] = with_signs(static_cast<std::uint32_t>(magnitudes >> 32), signs >> 4);
}

__device__ __forceinline__ float odd_multiple(float scale, std::uint32_t bits) {
  return scale * as_float(2 * bits + 1);
}

struct IQ2_XXSUnit : CodebookUnit<66, 32, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t words[2], codes[8];  // indices; signs and scale
    load_words<2, kAlign>(block + 2 + 8 * unit, words);
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      put_run(kIq2XxsBook.entries[byte_of(words[0], run)],
              eight_signs(words[1] >> 7 * run & 127), run, codes);
    }
    use(0, codes, odd_multiple(load_half(block) * 0.125f, words[1] >> 28), 0.0f);
  }
};

/// Two groups of 16, whose scales are nibbles of one byte.
template <typename Use>
__device__ __forceinline__ void use_halves(const std::uint32_t (&codes)[8], float scale,
                                           std::uint32_t nibbles_of_scales, Use use) {
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const std::uint32_t half[4] = {codes[4 * s], codes[4 * s + 1], codes[4 * s + 2],
                                   codes[4 * s + 3]};
    use(s, half, odd_multiple(scale, nibbles_of_scales >> 4 * s & 15), 0.0f);
  }
}

struct IQ2_XSUnit : CodebookUnit<74, 16, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t words[2], codes[8];  // of two runs each: index and signs
    load_words<2, kAlign>(block + 2 + 8 * unit, words);
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      const std::uint32_t bits = words[run / 2] >> 16 * (run % 2) & 0xffff;
      put_run(kIq2XsBook.entries[bits & 511], eight_signs(bits >> 9), run, codes);
    }
    use_halves(codes, load_half(block) * 0.125f, block[66 + unit], use);
  }
};

struct IQ2_SUnit : CodebookUnit<82, 16, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t low[1], signs[1], codes[8];
    load_words<1, kAlign>(block + 2 + 4 * unit, low);
    load_words<1, kAlign>(block + 34 + 4 * unit, signs);
    const std::uint32_t high = block[66 + unit];
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      const std::uint32_t index = byte_of(low[0], run) | (high >> 2 * run & 3) << 8;
      put_run(kIq2SBook.entries[index], byte_of(signs[0], run), run, codes);
    }
    use_halves(codes, load_half(block) * 0.125f, block[74 + unit], use);
  }
};

struct IQ3_XXSUnit : CodebookUnit<98, 32, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t indices[2], bits[1], codes[8];
    load_words<2, kAlign>(block + 2 + 8 * unit, indices);
    load_words<1, kAlign>(block + 66 + 4 * unit, bits);
#pragma unroll
    for (int run = 0; run < 8; ++run) {
      const std::uint32_t signs = eight_signs(bits[0] >> 7 * (run / 2) & 127);
      codes[run] = with_signs(kIq3XxsBook.entries[byte_of(indices[run / 4], run % 4)],
                              signs >> 4 * (run % 2));
    }
    use(0, codes, odd_multiple(load_half(block) * 0.25f, bits[0] >> 28), 0.0f);
  }
};

struct IQ3_SUnit : CodebookUnit<110, 32, 0> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t low[2], signs[1], codes[8];
    load_words<2, kAlign>(block + 2 + 8 * unit, low);
    load_words<1, kAlign>(block + 74 + 4 * unit, signs);
    const std::uint32_t high = block[66 + unit];
#pragma unroll
    for (int run = 0; run < 8; ++run) {
      const std::uint32_t index = byte_of(low[run / 4], run % 4) | (high >> run & 1) << 8;
      codes[run] = with_signs(kIq3SBook.entries[index], signs[0] >> 4 * run);
    }
    const std::uint32_t scales = block[106 + unit / 2];
    use(0, codes, odd_multiple(load_half(block), scales >> 4 * (unit % 2) & 15), 0.0f);
  }
};

// IQ1: an entry's bytes are kIq1Offset more than the codes, and codes may be two less; here, that
// subtrahends are constant, those that are not less are two more.
inline constexpr int kIq1UnitOffset = kIq1Offset + 2;

template <int N>
__device__ __forceinline__ void put_iq1_run(std::uint32_t index, bool two_less, int run,
                                            std::uint32_t (&codes)[N]) {
  const std::uint64_t entry = kIq1Book.entries[index];
  const std::uint32_t more = two_less ? 0u : 0x02020202u;
  codes[2 * run] = static_cast<std::uint32_t>(entry) + more;
  codes[2 * run + 1] = static_cast<std::uint32_t>(entry >> 32) + more;
}

struct IQ1_SUnit : CodebookUnit<50, 32, kIq1UnitOffset> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t low[1], codes[8];
    load_words<1, kAlign>(block + 2 + 4 * unit, low);
    const std::uint32_t bits = load_aligned<std::uint16_t>(block + 34 + 2 * unit);
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      put_iq1_run(byte_of(low[0], run) | (bits >> 3 * run & 7) << 8, bits >> 15 != 0, run, codes);
    }
    use(0, codes, odd_multiple(load_half(block) * 0.125f, bits >> 12 & 7), 0.0f);
  }
};

struct IQ1_MUnit : CodebookUnit<56, 16, kIq1UnitOffset> {
  template <typename Use>
  static __device__ __forceinline__ void unit(const unsigned char* block, int unit, Use use) {
    std::uint32_t low[1], scales[2], codes[8];
    load_words<1, kAlign>(block + 4 * unit, low);
    load_words<2, kAlign>(block + 48, scales);
    const std::uint32_t runs = load_aligned<std::uint16_t>(block + 32 + 2 * unit);
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      const std::uint32_t bits = runs >> 4 * run;
      put_iq1_run(byte_of(low[0], run) | (bits & 7) << 8, (bits & 8) != 0, run, codes);
    }
    // Each pair of bytes has a nibble of the half in its upper bits.
    const std::uint32_t half = (scales[0] >> 12 & 0xf) | (scales[0] >> 24 & 0xf0) |
                               (scales[1] >> 4 & 0xf00) | (scales[1] >> 16 & 0xf000);
    const float scale = half_bits_to_float(half) * 0.125f;
    const std::uint32_t pair = scales[unit / 4] >> 16 * (unit / 2 % 2);
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const std::uint32_t of_half[4] = {codes[4 * s], codes[4 * s + 1], codes[4 * s + 2],
                                        codes[4 * s + 3]};
      use(s, of_half, odd_multiple(scale, pair >> 3 * (2 * (unit % 2) + s) & 7), 0.0f);
    }
  }
};

}  // namespace sluice::cuda

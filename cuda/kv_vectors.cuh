#pragma once
// How the KV cache holds one head's vector, in device code: the forms of cpu/kv_vectors.h and their
// bytes. Vectors are read in quads: four neighbouring elements, kept as they lie until they are
// wanted, so that reading may run ahead of computing.

#include <cstddef>
#include <cstdint>

#include "base/operations.h"
#include "cuda/device.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kQ8Elements = 32;
inline constexpr std::uint32_t kQ8Bytes = 34;

/// Vectors of a KV block and head: kKvBlock of them, one after the other.
template <KvType kTypeOf>
struct KvVectors {
  static constexpr KvType kType = kTypeOf;

  const std::byte* data;
  std::uint32_t bytes;     // of a vector
  std::uint32_t elements;  // of a vector, that are wanted

  /// Whether four elements can be read at once, wherever they begin with a multiple of four.
  __device__ __forceinline__ bool aligned() const {
    constexpr std::uint32_t kWidth = kType == KvType::kF32 ? 16 : 8;
    return (reinterpret_cast<std::uintptr_t>(data) | bytes) % kWidth == 0;
  }
};

template <KvType kType>
struct RawQuad {
  std::uint32_t words[kType == KvType::kF32 ? 4 : 2];
};

/// Elements [d, d + 4) of a vector; zeros beyond its end. d is a multiple of four.
template <KvType kType>
__device__ __forceinline__ RawQuad<kType> load_quad(const KvVectors<kType>& vectors, bool aligned,
                                                    std::uint32_t vector, std::uint32_t d) {
  RawQuad<kType> quad = {};
  const std::byte* const at = vectors.data + std::size_t{vector} * vectors.bytes;
  if (d >= vectors.elements) return quad;
  const bool together = aligned && d + 4 <= vectors.elements;
  if constexpr (kType == KvType::kF32) {
    const auto* const floats = reinterpret_cast<const std::uint32_t*>(at) + d;
    if (together) {
      const uint4 four = *reinterpret_cast<const uint4*>(floats);
      quad.words[0] = four.x;
      quad.words[1] = four.y;
      quad.words[2] = four.z;
      quad.words[3] = four.w;
    } else {
#pragma unroll
      for (std::uint32_t i = 0; i < 4; ++i) {
        if (d + i < vectors.elements) quad.words[i] = floats[i];
      }
    }
  } else if constexpr (kType == KvType::kF16) {
    const auto* const halves = reinterpret_cast<const std::uint16_t*>(at) + d;
    if (together) {
      const auto four = *reinterpret_cast<const std::uint64_t*>(halves);
      quad.words[0] = static_cast<std::uint32_t>(four);
      quad.words[1] = static_cast<std::uint32_t>(four >> 32);
    } else {
#pragma unroll
      for (std::uint32_t i = 0; i < 4; ++i) {
        if (d + i < vectors.elements) quad.words[i / 2] |= std::uint32_t{halves[i]} << i % 2 * 16;
      }
    }
  } else {
    const auto* const block =
        reinterpret_cast<const std::uint16_t*>(at + d / kQ8Elements * kQ8Bytes);
    const auto* const codes = block + 1 + d % kQ8Elements / 2;
    quad.words[0] = codes[0] | std::uint32_t{codes[1]} << 16;
    quad.words[1] = block[0];
  }
  return quad;
}

template <KvType kType>
__device__ __forceinline__ float4 decode_quad(const RawQuad<kType>& quad) {
  if constexpr (kType == KvType::kF32) {
    return make_float4(__uint_as_float(quad.words[0]), __uint_as_float(quad.words[1]),
                       __uint_as_float(quad.words[2]), __uint_as_float(quad.words[3]));
  } else if constexpr (kType == KvType::kF16) {
    return make_float4(
        half_bits_to_float(quad.words[0] & 0xffff), half_bits_to_float(quad.words[0] >> 16),
        half_bits_to_float(quad.words[1] & 0xffff), half_bits_to_float(quad.words[1] >> 16));
  } else {
    const float scale = half_bits_to_float(quad.words[1]);
    const auto code = [&](int i) {
      return scale * static_cast<float>(static_cast<std::int8_t>(quad.words[0] >> 8 * i & 0xff));
    };
    return make_float4(code(0), code(1), code(2), code(3));
  }
}

/// A warp writes elements [d, d + 32) of a vector, as many as it has; lane i holds d + i.
__device__ __forceinline__ void encode_elements(KvType type, float x, std::uint32_t d,
                                                std::uint32_t elements, std::byte* vector) {
  const unsigned lane = threadIdx.x % 32;
  if (type == KvType::kQ8_0) {
    // Without their signs floats are in the order of their bits, and a NaN comes after infinity.
    int bits = __float_as_int(fabsf(x));
    for (unsigned mask = 16; mask > 0; mask /= 2) {
      const int other = __shfl_xor_sync(0xffffffffu, bits, mask);
      bits = other > bits ? other : bits;
    }
    const float scale = __int_as_float(bits) / 127.0f;
    constexpr float kSmallestNormal = 0x1p-126f;
    const float inverse = scale >= kSmallestNormal ? 1.0f / scale : 0.0f;
    const float limited = fminf(fmaxf(x * inverse, -127.0f), 127.0f);
    // Ties away from zero: what is left after truncating doubles to ±1 from one half on.
    const float whole = truncf(limited);
    const float left = limited - whole;
    std::byte* const block = vector + d / kQ8Elements * kQ8Bytes;
    if (lane == 0) {
      *reinterpret_cast<std::uint16_t*>(block) =
          static_cast<std::uint16_t>(float_to_half_bits(scale));
    }
    const auto code = static_cast<std::int8_t>(static_cast<int>(whole + truncf(left + left)));
    reinterpret_cast<std::int8_t*>(block)[2 + lane] = code;
  } else if (d + lane < elements) {
    if (type == KvType::kF32) {
      reinterpret_cast<float*>(vector)[d + lane] = x;
    } else {
      reinterpret_cast<std::uint16_t*>(vector)[d + lane] =
          static_cast<std::uint16_t>(float_to_half_bits(x));
    }
  }
}

}  // namespace sluice::cuda

#pragma once
// How the KV cache holds one head's vector, to be included by kernels only (float_lanes.h):
//
//     kF32   floats as they are
//     kF16   halves, rounded to nearest even
//     kQ8_0  GGUF's Q8_0 blocks of 32: a half scale, then 32 signed codes. As ggml's reference has
//     it, d = amax / 127,
//            code = x * (1 / d) rounded to nearest with ties away from zero, and the scale stored
//            is d as a half: the codes are made with the scale before it is rounded. Where d is so
//            small that 1 / d overflows all codes are zero (the stored scale is zero there too).
//            Where an element is not a number amax and the scale are none, and nothing of the
//            block.
//
// What is read back is the float32 of it: scale * code, exact for Q8_0.

#include "base/operations.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kQ8Elements = 32;
constexpr std::size_t kQ8Bytes = 34;

inline void store_q8_block(const float* in, std::byte* out) {
  const Lanes a = lanes_load(in);
  const Lanes b = lanes_load(in + kLanes);
  const float scale = lanes_largest_magnitude(a, b) / 127.0f;
  const Lanes inverse = lanes_set(scale >= __FLT_MIN__ ? 1.0f / scale : 0.0f);
  const Lanes limit = lanes_set(127.0f);
  store_half(out, scale);
  const Lanes halves[2] = {a, b};
  for (std::size_t i = 0; i < 2; ++i) {
    const Lanes x = lanes_min(lanes_max(halves[i] * inverse, lanes_zero() - limit), limit);
    // Ties away from zero: what is left after truncating doubles to ±1 from one half on.
    const Lanes whole = lanes_truncate(x);
    const Lanes left = x - whole;
    lanes_store_codes(out + 2 + i * kLanes, whole + lanes_truncate(left + left));
  }
}

/// REQUIRES: n is a multiple of 32 for kQ8_0.
inline void encode_kv_vector(KvType type, const float* in, std::size_t n, std::byte* out) {
  if (type == KvType::kF32) {
    std::memcpy(out, in, n * sizeof(float));
  } else if (type == KvType::kF16) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) lanes_store_half(out + 2 * i, lanes_load(in + i));
    for (; i < n; ++i) store_half(out + 2 * i, in[i]);
  } else {
    for (std::size_t i = 0; i < n; i += kQ8Elements) {
      store_q8_block(in + i, out + i / kQ8Elements * kQ8Bytes);
    }
  }
}

/// Elements [from, from + n) of a vector as float32; the last lanes are filled up with zeros.
/// REQUIRES: from and n are multiples of 32 for kQ8_0.
inline void decode_kv_vector(KvType type, const std::byte* in, std::size_t from, std::size_t n,
                             float* out) {
  std::size_t i = 0;
  if (type == KvType::kF32) {
    const auto* floats = reinterpret_cast<const float*>(in) + from;
    for (; i + kLanes <= n; i += kLanes) lanes_store(out + i, lanes_load(floats + i));
    if (i < n) lanes_store(out + i, lanes_load_part(floats + i, n - i));
  } else if (type == KvType::kF16) {
    const std::byte* halves = in + 2 * from;
    for (; i + kLanes <= n; i += kLanes) lanes_store(out + i, lanes_load_half(halves + 2 * i));
    if (i < n) {
      std::byte part[2 * kLanes] = {};
      std::memcpy(part, halves + 2 * i, 2 * (n - i));
      lanes_store(out + i, lanes_load_half(part));
    }
  } else {
    for (; i < n; i += kQ8Elements) {
      const std::byte* block = in + (from + i) / kQ8Elements * kQ8Bytes;
      const Lanes scale = lanes_set(load_half(block));
      lanes_store(out + i, scale * lanes_load_codes(block + 2));
      lanes_store(out + i + kLanes, scale * lanes_load_codes(block + 2 + kLanes));
    }
  }
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

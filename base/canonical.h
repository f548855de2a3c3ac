#pragma once
// The canonical order: the one order of rounding that every device and instruction set follows,
// written as plain code. Whoever computes a dot product, a norm or an attention row must give these
// very bits; ARCHITECTURE.md explains why this order suits AVX2, AVX-512, NEON and a CUDA warp. All
// rounding is to nearest even; fma is always a true fma; nothing else is contracted.
//
// 1. Activations in 8 bits (quantise_row): groups of 32; amax = max |x|; scale = amax / 127;
// inverse = amax > 0 ? 127 / amax : 0;
//    code = round-to-nearest-even(x * inverse), clamped to [-127, 127] (an inverse may overflow);
//    what a NaN gives is unspecified. sums[j] = sum of codes of each 16.
// 2. Quantised dot: weights come as groups of 16 or 32 codes with scale w and minimum m
// (tensor_format.h), each under an
//    activation group with scale a:
//        term(g):  acc = fma(w * a, float(exact integer dot of the group), acc)
//                  acc = fma(m * a, float(exact integer sum of the activation codes of the group),
//                  acc)   [formats with min]
//    Groups are taken in order inside a *segment* of kSegment elements, each segment starting from
//    acc = 0; segments' results are added in order (total = total + acc, from total = 0). Segments
//    let a GPU or a thread split a long row.
// 3. Float dot: 16 lanes, lane l takes elements l, l + 16, … with lane = fma(weight, x, lane), in
// order, inside a segment of
//    kSegment elements; missing elements of the last 16 are skipped. The 16 lanes are then reduced
//    by halves: lane[i] + lane[i + 8], then + 4, + 2, + 1; segments' results are added in order as
//    above.
// 4. exp: canonical_exp below. silu(x) = x / (1 + exp(-x)).
// 5. Attention of one row and head over positions [first, position]: score = scale * dot(q, k) with
// rule 3 over head_dim; peak = max of the
//    scores; p = exp(score - peak). Positions are taken in order inside segments that are the KV
//    blocks (position / kKvBlock), each from zero: sum = sum + p, out[d] = fma(p, v[d], out[d]);
//    segments' results are added in order; out[d] = total_out[d] / total_sum. Keys and values are
//    the float32 of what the cache holds (Q8_0: scale * code, rounded once).
// 6. RMS norm: sum of squares is rule 3's dot(x, x); out = x * (1 / sqrt(sum / n + eps)) * weight,
// left to right.
// 7. RoPE: (x0, x1) → (fma(x0, cos, -(x1 * sin)), fma(x1, cos, x0 * sin)).

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace sluice {

inline constexpr std::size_t kSegment =
    512;  // elements of a row that are summed before a partial result is added
inline constexpr std::size_t kActivationGroup = 32;  // activation codes that share a scale
inline constexpr std::size_t kFloatLanes = 16;
inline constexpr std::size_t kKvBlock =
    64;  // positions in a block of the KV cache, and in an attention segment

/// e^x within 1.02 units in the last place: 2^n times a polynomial on [-ln2/2, ln2/2]. x below
/// -87.3 gives 0, above 88.7 gives infinity; NaN stays NaN. Cody-Waite reduction and a degree-6
/// polynomial in Horner form, all in fma.
inline float canonical_exp(float x) {
  if (!(x >= -87.3f)) return x != x ? x : 0.0f;
  if (x > 88.7f) return HUGE_VALF;
  const float n = std::nearbyintf(x * 1.44269504088896341f);
  float r = std::fma(n, -0.693359375f, x);
  r = std::fma(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  p = std::fma(p, r * r, r) + 1.0f;
  // n is at most 128: scale in two steps so that 2^128 is never formed.
  const auto half = static_cast<std::int32_t>(n) / 2;
  const auto rest = static_cast<std::int32_t>(n) - half;
  const float low = std::bit_cast<float>((half + 127) << 23);
  const float high = std::bit_cast<float>((rest + 127) << 23);
  return p * low * high;
}

inline float canonical_silu(float x) { return x / (1.0f + canonical_exp(-x)); }

/// Rule 3's last step.
inline float reduce_lanes(float* lanes) {
  for (std::size_t width = kFloatLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

}  // namespace sluice

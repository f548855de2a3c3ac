#pragma once
// The canonical order: the one order of rounding that every device and instruction set follows,
// written as plain code. Whoever computes a dot product, a norm or an attention row must give these
// very bits; ARCHITECTURE.md explains why this order suits AVX2, AVX-512, NEON and a CUDA warp. All
// rounding is to nearest even; fma is always a true fma; nothing else is contracted.
//
// 1. Activations in 8 bits (quantise_row): groups of 32; amax = max |x|; scale = amax / 127;
// inverse = amax > 0 ? 127 / amax : 0;
//    code = round-to-nearest-even(x * inverse), clamped to [-127, 127] (an inverse may overflow).
//    sums[j] = sum of codes of each 16. Where an x is a NaN so are amax and the scale, and what
//    meets them: the code of such an x may be any.
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
//    above. Terms of finite weights with an x of zero may be left out: they change no more than the
//    sign of a lane's zero, which total = +0 + … does not keep.
// 4. exp and activations: the functions below. All but clamped_swiglu are then multiplied by up.
// 5. Attention of one row and head over positions [first, position]: score = scale * dot(q, k) with
// rule 3 over head_dim; peak = max of the
//    scores; p = exp(score - peak). Positions are taken in order inside segments that are the KV
//    blocks (position / kKvBlock), each from zero: sum = sum + p, out[d] = fma(p, v[d], out[d]);
//    segments' results are added in order; out[d] = total_out[d] / total_sum. Keys and values are
//    the float32 of what the cache holds (Q8_0: scale * code, rounded once). A head with a sink s:
//    peak = max(peak of the scores, s), and total_sum starts from exp(s - peak) instead of zero.
// 6. RMS norm: sum of squares is rule 3's dot(x, x); out = x * (1 / sqrt(sum / n + eps)) * weight +
//    bias, left to right, rounded at every step; what is absent is no step. Layer norm: mean = sum
//    of x in rule 3's order / n, then the RMS norm of d = x - mean.
// 7. RoPE: (x0, x1) → (fma(x0, cos, -(x1 * sin)), fma(x1, cos, x0 * sin)).
// 8. Gated delta net, row after row of a sequence. Convolution: acc = fma(weight, x, acc) from zero
//    over its positions, the oldest first; then silu. Queries and keys of a head: x * (1 /
//    sqrt(dot(x, x) + kDeltaNetEpsilon)) with rule 3, queries then times 1 / sqrt(key_dim). decay =
//    exp(a * softplus(alpha + dt_bias)), beta = 1 / (1 + exp(-beta)). For each column of a head's
//    state, over its rows i in order from zero: seen = fma(key[i], state[i], seen); delta = beta *
//    (value - decay * seen); again in order, state[i] = fma(key[i], delta, decay * state[i]), out =
//    fma(query[i], state[i], out). A head's outputs: rule 6, then times silu(gate).
// 9. Sum of a row's experts, in the router's order: out = out + weight * output, from zero, each
//    product rounded and then each sum.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace sluice {

inline constexpr std::size_t kSegment =
    512;  // elements of a row that are summed before a partial result is added
inline constexpr std::size_t kActivationGroup = 32;  // activation codes that share a scale
inline constexpr std::size_t kFloatLanes = 16;
inline constexpr float kDeltaNetEpsilon = 1e-6f;  // under the root of the L2 norm
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

/// x / (1 + exp(-2u)) with u = sqrt(2 / pi) (x + 0.044715 x³): x (1 + tanh u) / 2 without its
/// cancellation.
inline constexpr float kGeluTanhLinear = 1.5957691216057308f;  // 2 sqrt(2 / pi)
inline constexpr float kGeluTanhCubic = 0.07135481627159942f;  // times 0.044715
inline float canonical_gelu_tanh(float x) {
  const float slope = std::fma(x * x, kGeluTanhCubic, kGeluTanhLinear);
  return x / (1.0f + canonical_exp(-(x * slope)));
}

/// x Phi(x), Phi being the standard normal distribution, within 7 units in the last place: max(x,
/// 0) - t Phi(-t) for t = |x|, which loses nothing in the tail. Phi(-t) = exp(-t²/2) times a
/// polynomial in y = 1 / (1 + kGeluScale t) without a constant, fitted to the least relative error
/// (0.54 * 2^-24); what rounding takes from t²/2 is put back.
inline constexpr float kGeluScale = 0.35f;
inline constexpr float kGeluLast = 13.5f;  // from where exp(-t²/2) is zero
inline constexpr float kGeluPolynomial[] = {-0.029114373f, 0.14381543f, -0.25538513f, 0.15879013f,
                                            -0.022839189f, 0.10539043f, 0.11986351f,  0.1398575f,
                                            0.13962166f};  // of y^9 to y
inline float canonical_gelu(float x) {
  const float magnitude = std::fabs(x);
  const float t = kGeluLast < magnitude ? kGeluLast : magnitude;
  const float y = 1.0f / std::fma(kGeluScale, t, 1.0f);
  float p = kGeluPolynomial[0];
  for (std::size_t i = 1; i < std::size(kGeluPolynomial); ++i) {
    p = std::fma(p, y, kGeluPolynomial[i]);
  }
  const float half = 0.5f * t;
  const float square = half * t;
  const float lost = std::fma(half, t, -square);
  const float bell = canonical_exp(-square);
  const float tail = std::fma(-lost, bell, bell) * (p * y);
  return std::fma(-t, tail, 0.0f > x ? 0.0f : x);
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + w) for w = exp(-|x|), within 4 units in the last place: ln(1 +
/// w) = 2 artanh(s) with s = w / (2 + w), which is s times a polynomial in s² on [0, 1/9] (fitted
/// to a relative error of 0.07 * 2^-24).
inline constexpr float kSoftplusPolynomial[] = {0.28178245f, 0.27960622f, 0.4002491f, 0.66666317f,
                                                2.0f};  // of s^8 to 1
inline float canonical_softplus(float x) {
  const float w = canonical_exp(-std::fabs(x));
  const float s = w / (2.0f + w);
  const float square = s * s;
  float p = kSoftplusPolynomial[0];
  for (std::size_t i = 1; i < std::size(kSoftplusPolynomial); ++i) {
    p = std::fma(p, square, kSoftplusPolynomial[i]);
  }
  return std::fma(s, p, 0.0f > x ? 0.0f : x);
}

inline float canonical_relu(float x) { return 0.0f > x ? 0.0f : x; }

/// gate sigmoid(alpha gate) (up + 1), gate limited from above and up both ways.
inline float canonical_clamped_swiglu(float gate, float up, float alpha, float limit) {
  const float g = limit < gate ? limit : gate;
  const float below = limit < up ? limit : up;
  const float u = -limit > below ? -limit : below;
  return g / (1.0f + canonical_exp(-(alpha * g))) * (u + 1.0f);
}

/// Rule 3's last step.
inline float reduce_lanes(float* lanes) {
  for (std::size_t width = kFloatLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

}  // namespace sluice

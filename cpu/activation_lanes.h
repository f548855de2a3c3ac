#pragma once
// Rule 4 of base/canonical.h over lanes, step by step as it has them (float_lanes.h).

#include "base/canonical.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

inline Lanes negative(Lanes x) { return lanes_zero() - x; }
/// x / (1 + exp(-a)).
inline Lanes times_sigmoid(Lanes x, Lanes a) {
  return x / (lanes_set(1.0f) + lanes_exp(negative(a)));
}
inline Lanes sigmoid(Lanes x) { return times_sigmoid(lanes_set(1.0f), x); }
inline Lanes silu(Lanes x) { return times_sigmoid(x, x); }
inline Lanes gelu_tanh(Lanes x) {
  const Lanes slope = lanes_fma(x * x, lanes_set(kGeluTanhCubic), lanes_set(kGeluTanhLinear));
  return times_sigmoid(x, x * slope);
}
// Where one operand of min and max may be NaN it is the second, which is the one that they give.
inline Lanes relu(Lanes x) { return lanes_max(lanes_zero(), x); }

/// A polynomial's value, the coefficient of the highest power first.
template <std::size_t kCount>
inline Lanes polynomial(const float (&coefficients)[kCount], Lanes x) {
  Lanes p = lanes_set(coefficients[0]);
  for (std::size_t i = 1; i < kCount; ++i) p = lanes_fma(p, x, lanes_set(coefficients[i]));
  return p;
}

inline Lanes gelu(Lanes x) {
  const Lanes t = lanes_min(lanes_set(kGeluLast), lanes_abs(x));
  const Lanes y = lanes_set(1.0f) / lanes_fma(lanes_set(kGeluScale), t, lanes_set(1.0f));
  const Lanes half = lanes_set(0.5f) * t;
  const Lanes square = half * t;
  const Lanes lost = lanes_fma(half, t, negative(square));
  const Lanes bell = lanes_exp(negative(square));
  const Lanes tail = lanes_fma(negative(lost), bell, bell) * (polynomial(kGeluPolynomial, y) * y);
  return lanes_fma(t, negative(tail), relu(x));  // -0 stays -0
}
inline Lanes softplus(Lanes x) {
  const Lanes w = lanes_exp(negative(lanes_abs(x)));
  const Lanes s = w / (lanes_set(2.0f) + w);
  return lanes_fma(s, polynomial(kSoftplusPolynomial, s * s), relu(x));
}

struct ClampedSwiglu {
  Lanes operator()(Lanes gate, Lanes up) const {
    const Lanes g = lanes_min(limit, gate);
    const Lanes u = lanes_max(lowest, lanes_min(limit, up));
    return times_sigmoid(g, alpha * g) * (u + lanes_set(1.0f));
  }
  Lanes alpha, limit, lowest;  // lowest = -limit
};

}  // namespace
}  // namespace sluice::SLUICE_ISA

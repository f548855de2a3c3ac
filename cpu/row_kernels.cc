#include "cpu/row_kernels.h"

#include "base/canonical.h"
#include "cpu/activation_lanes.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Rounds to whole numbers, ties to even. REQUIRES: magnitudes are below 2^22.
inline Lanes round_to_even(Lanes x) {
  // Adding 1.5 * 2^23 leaves no bits for a fraction, and the adder rounds as wanted.
  const Lanes shift = lanes_set(12582912.0f);
  return (x + shift) - shift;
}

}  // namespace

void quantise(const float* values, std::size_t columns, std::int8_t* codes, float* scales,
              std::int16_t* sums) {
  for (std::size_t group = 0; group < columns / kActivationGroup; ++group) {
    const Lanes low = lanes_load(values + group * kActivationGroup);
    const Lanes high = lanes_load(values + group * kActivationGroup + 16);
    const float amax = lanes_largest_magnitude(low, high);
    const float inverse = amax > 0 ? 127.0f / amax : 0.0f;
    scales[group] = amax / 127.0f;
    for (std::size_t half = 0; half < 2; ++half) {
      // min and max give their second operand for what is not a number, so codes are always within
      // ±127.
      const Lanes scaled = (half == 0 ? low : high) * lanes_set(inverse);
      const Lanes whole =
          round_to_even(lanes_min(lanes_max(scaled, lanes_set(-127.0f)), lanes_set(127.0f)));
      lanes_store_codes(reinterpret_cast<std::byte*>(codes) + group * kActivationGroup + half * 16,
                        whole);
      // A sum of sixteen small whole numbers: exact in any order.
      sums[group * 2 + half] = static_cast<std::int16_t>(lanes_sum(whole));
    }
  }
}

void activate(Activation activation, float alpha, float limit, const float* gate, const float* up,
              float* out, std::size_t n) {
  const auto gated = [&](const auto& function) {
    lanes_combine(gate, up, out, n, [&](Lanes g, Lanes u) { return function(g) * u; });
  };
  switch (activation) {
    case Activation::kSilu:
      return gated(silu);
    case Activation::kGeluTanh:
      return gated(gelu_tanh);
    case Activation::kGelu:
      return gated(gelu);
    case Activation::kRelu:
      return gated(relu);
    case Activation::kClampedSwiglu:
      return lanes_combine(gate, up, out, n,
                           ClampedSwiglu{lanes_set(alpha), lanes_set(limit), lanes_set(-limit)});
  }
}

}  // namespace sluice::SLUICE_ISA

#include "cpu/norm_kernels.h"

#include "base/canonical.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

/// What a sum is of: term(lanes of x, the sum so far), where zeros leave the sum as it is.
struct Squares {
  Lanes operator()(Lanes x, Lanes sum) const { return lanes_fma(x, x, sum); }
};
struct Values {
  Lanes operator()(Lanes x, Lanes sum) const { return sum + x; }
};

/// Adds the terms of `S` whole segments to `total`, in order; they run side by side because each
/// is one chain.
template <int S, typename Term>
inline float add_segments(const float* x, float total, const Term& term) {
  Lanes sums[S];
  for (int s = 0; s < S; ++s) sums[s] = lanes_zero();
  for (std::size_t i = 0; i < kSegment; i += kLanes) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) sums[s] = term(lanes_load(x + s * kSegment + i), sums[s]);
  }
  for (int s = 0; s < S; ++s) total += lanes_sum(sums[s]);
  return total;
}

/// The sum of terms in rule 3's order.
template <typename Term>
inline float sum_of(const float* x, std::size_t n, const Term& term) {
  float total = 0.0f;
  std::size_t i = 0;
  for (; i + 4 * kSegment <= n; i += 4 * kSegment) total = add_segments<4>(x + i, total, term);
  for (; i + kSegment <= n; i += kSegment) total = add_segments<1>(x + i, total, term);
  if (i == n) return total;
  Lanes sums = lanes_zero();
  for (; i + kLanes <= n; i += kLanes) sums = term(lanes_load(x + i), sums);
  if (i < n) sums = term(lanes_load_part(x + i, n - i), sums);
  return total + lanes_sum(sums);
}

}  // namespace

float sum_of_squares(const float* x, std::size_t n) { return sum_of(x, n, Squares{}); }

void norm(const NormTask& task, const float* x, float* out) {
  const std::size_t n = task.columns;
  const auto columns = static_cast<float>(n);
  if (task.kind == NormKind::kLayer) {
    const float mean = sum_of(x, n, Values{}) / columns;
    const Lanes means = lanes_set(mean);
    lanes_combine(x, x, out, n, [&](Lanes value, Lanes) { return value - means; });
    x = out;
  }
  const float square = sum_of_squares(x, n) / columns;
  const Lanes inverse = lanes_set(1.0f / __builtin_sqrtf(square + task.epsilon));
  if (task.weight != nullptr) {
    lanes_combine(x, task.weight, out, n,
                  [&](Lanes value, Lanes weight) { return value * inverse * weight; });
  } else {
    lanes_combine(x, x, out, n, [&](Lanes value, Lanes) { return value * inverse; });
  }
  if (task.bias != nullptr) {
    lanes_combine(out, task.bias, out, n, [](Lanes value, Lanes bias) { return value + bias; });
  }
}

}  // namespace sluice::SLUICE_ISA

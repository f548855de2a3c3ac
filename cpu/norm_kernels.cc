#include "cpu/norm_kernels.h"

#include "base/canonical.h"
#include "cpu/float_lanes.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Adds the squares of `S` whole segments to `total`, in order; they run side by side because each
/// is one chain of fma.
template <int S>
inline float add_segments(const float* x, float total) {
  Lanes squares[S];
  for (int s = 0; s < S; ++s) squares[s] = lanes_zero();
  for (std::size_t i = 0; i < kSegment; i += kLanes) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const Lanes part = lanes_load(x + s * kSegment + i);
      squares[s] = lanes_fma(part, part, squares[s]);
    }
  }
  for (int s = 0; s < S; ++s) total += lanes_sum(squares[s]);
  return total;
}

/// dot(x, x) by rule 3.
inline float sum_of_squares(const float* x, std::size_t n) {
  float total = 0.0f;
  std::size_t i = 0;
  for (; i + 4 * kSegment <= n; i += 4 * kSegment) total = add_segments<4>(x + i, total);
  for (; i + kSegment <= n; i += kSegment) total = add_segments<1>(x + i, total);
  if (i == n) return total;
  Lanes squares = lanes_zero();
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes part = lanes_load(x + i);
    squares = lanes_fma(part, part, squares);
  }
  if (i < n) {
    const Lanes part = lanes_load_part(x + i, n - i);  // the zeros leave their lanes as they are
    squares = lanes_fma(part, part, squares);
  }
  return total + lanes_sum(squares);
}

}  // namespace

void rms_norm(const float* x, const float* weight, float eps, float* out, std::size_t columns) {
  const float mean = sum_of_squares(x, columns) / static_cast<float>(columns);
  const float inverse = 1.0f / __builtin_sqrtf(mean + eps);
  const Lanes inverses = lanes_set(inverse);
  std::size_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    lanes_store(out + i, lanes_load(x + i) * inverses * lanes_load(weight + i));
  }
  for (; i < columns; ++i) out[i] = x[i] * inverse * weight[i];
}

}  // namespace sluice::SLUICE_ISA

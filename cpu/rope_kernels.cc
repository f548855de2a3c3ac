// RoPE is element-wise, so plain loops do: the compiler's vectors round as single elements do.

#include "cpu/norm_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

inline void rotate(float& x0, float& x1, float cosine, float sine) {
  const float before = x0;
  x0 = __builtin_fmaf(before, cosine, -(x1 * sine));
  x1 = __builtin_fmaf(x1, cosine, before * sine);
}

/// Pairs (i, i + n).
inline void rotate_halves(float* __restrict low, float* __restrict high, std::size_t n,
                          const float* __restrict cosines, const float* __restrict sines) {
  for (std::size_t i = 0; i < n; ++i) rotate(low[i], high[i], cosines[i], sines[i]);
}

/// Pairs (2i, 2i + 1).
inline void rotate_neighbours(float* __restrict x, std::size_t n, const float* __restrict cosines,
                              const float* __restrict sines) {
  for (std::size_t i = 0; i < n; ++i) rotate(x[2 * i], x[2 * i + 1], cosines[i], sines[i]);
}

}  // namespace

void rope(float* x, std::size_t heads, std::size_t head_dim, std::size_t rotary_dim,
          bool interleaved, const float* cosines, const float* sines) {
  const std::size_t pairs = rotary_dim / 2;
  for (std::size_t head = 0; head < heads; ++head, x += head_dim) {
    if (interleaved) {
      rotate_neighbours(x, pairs, cosines, sines);
    } else {
      rotate_halves(x, x + pairs, pairs, cosines, sines);
    }
  }
}

}  // namespace sluice::SLUICE_ISA

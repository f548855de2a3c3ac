#include "cpu/row_kernels.h"

#include "base/canonical.h"

namespace sluice::SLUICE_ISA {

void quantise(const float* values, std::size_t columns, std::int8_t* codes, float* scales,
              std::int16_t* sums) {
  for (std::size_t group = 0; group < columns / kActivationGroup; ++group) {
    const float* const x = values + group * kActivationGroup;
    float amax = 0;
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const float magnitude = __builtin_fabsf(x[i]);
      if (magnitude > amax) amax = magnitude;
    }
    const float inverse = amax > 0 ? 127.0f / amax : 0.0f;
    scales[group] = amax / 127.0f;
    for (std::size_t half = 0; half < 2; ++half) {
      int sum = 0;
      for (std::size_t i = half * 16; i < half * 16 + 16; ++i) {
        const auto code = static_cast<std::int8_t>(__builtin_lrintf(x[i] * inverse));
        codes[group * kActivationGroup + i] = code;
        sum += code;
      }
      sums[group * 2 + half] = static_cast<std::int16_t>(sum);
    }
  }
}

void silu_multiply(const float* gate, const float* up, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + __builtin_expf(-gate[i])) * up[i];
}

}  // namespace sluice::SLUICE_ISA

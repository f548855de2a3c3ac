#pragma once
// Sixteen floats at once: the lanes of the canonical order's rule 3, for the instruction set that
// is being compiled (kernels.h). Kernels are written once over these lanes; since each operation
// rounds as plain code does, the instruction sets agree bit for bit. float_lanes_generic.h says
// what each function does.

#include <cstddef>

#if SLUICE_ISA_LEVEL >= 2
#include "cpu/float_lanes_avx512.h"
#elif SLUICE_ISA_LEVEL == 1
#include "cpu/float_lanes_avx2.h"
#else
#include "cpu/float_lanes_generic.h"
#endif

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kLanes = 16;

/// `n` rounded up to whole lanes.
inline std::size_t whole_lanes(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

/// The first n < 16 lanes; the rest are zero.
inline Lanes lanes_load_part(const float* p, std::size_t n) {
  float whole[kLanes] = {};
  std::memcpy(whole, p, n * sizeof(float));
  return lanes_load(whole);
}
inline void lanes_store_part(float* p, Lanes a, std::size_t n) {
  float whole[kLanes];
  lanes_store(whole, a);
  std::memcpy(p, whole, n * sizeof(float));
}

/// out[i] = function(a[i], b[i]) for n elements, sixteen at a time. out may be a or b.
template <typename Function>
inline void lanes_combine(const float* a, const float* b, float* out, std::size_t n,
                          const Function& function) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    lanes_store(out + i, function(lanes_load(a + i), lanes_load(b + i)));
  }
  if (i < n) {
    lanes_store_part(out + i,
                     function(lanes_load_part(a + i, n - i), lanes_load_part(b + i, n - i)), n - i);
  }
}

}  // namespace
}  // namespace sluice::SLUICE_ISA

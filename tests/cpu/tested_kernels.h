#pragma once
// Every set of kernels that can be run here: this machine's instruction sets, and the wider ones
// emulated with SIMDe, so that they are tested on machines that lack them.

#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/kernels.h"

#if defined(SLUICE_TEST_SIMDE)
namespace sluice::simde_avx2 {
extern const Kernels kKernels;
}
namespace sluice::simde_avx512 {
extern const Kernels kKernels;
}
namespace sluice::simde_avx512vnni {
extern const Kernels kKernels;
}
#endif

namespace sluice::testing {

struct TestedKernels {
  std::string name;
  const Kernels* kernels;
  bool emulated;
};

inline std::vector<TestedKernels> tested_kernels() {
  std::vector<TestedKernels> sets;
  for (const Isa isa : all_isas()) {
    if (isa_available(isa)) sets.push_back({std::string(isa_name(isa)), &kernels_of(isa), false});
  }
#if defined(SLUICE_TEST_SIMDE)
  sets.push_back({"AVX2 by SIMDe", &simde_avx2::kKernels, true});
  sets.push_back({"AVX-512 by SIMDe", &simde_avx512::kKernels, true});
  sets.push_back({"AVX-512 VNNI by SIMDe", &simde_avx512vnni::kKernels, true});
#endif
  return sets;
}

}  // namespace sluice::testing

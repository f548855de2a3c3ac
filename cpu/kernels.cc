#include "cpu/kernels.h"

namespace sluice {

const Kernels& kernels_of(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kGeneric:
      return generic::kKernels;
    case Isa::kAvx2:
      return avx2::kKernels;
    case Isa::kAvx512:
      return avx512::kKernels;
    case Isa::kAvx512Vnni:
      return avx512vnni::kKernels;
  }
#endif
  static_cast<void>(isa);
  return generic::kKernels;
}

}  // namespace sluice

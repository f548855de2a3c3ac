#include "cuda/codes_gemm.cuh"
#include "cuda/gemm_kernel.h"
#include "cuda/unit_source.cuh"
#include "cuda/weight_units.cuh"

namespace sluice::cuda {

GemmKernel quantised_gemm(TensorType type) {
  return visit_unit(type, [](auto unit) -> GemmKernel {
    using Unit = typename decltype(unit)::type;
    using Source = UnitSource<Unit, kCodesThreads>;
    return {launch_codes_gemm<Source>, CodesLayout<Source>::kBytes, Unit::kElements};
  });
}

}  // namespace sluice::cuda

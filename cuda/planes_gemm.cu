#include "cuda/codes_gemm.cuh"
#include "cuda/gemm_kernel.h"
#include "cuda/plane_source.cuh"

namespace sluice::cuda {

GemmKernel planes_gemm(const NestedForm& form, unsigned width) {
  return visit_planes(form, width, [](auto codes) -> GemmKernel {
    using Codes = typename decltype(codes)::type;
    using Source = PlaneSource<Codes, kCodesThreads>;
    return {launch_codes_gemm<Source>, CodesLayout<Source>::kBytes, Codes::Form::kBlock};
  });
}

}  // namespace sluice::cuda

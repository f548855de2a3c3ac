#include "cuda/float_gemm.cuh"
#include "cuda/gemm_kernel.h"
#include "cuda/plane_source.cuh"

namespace sluice::cuda {

GemmKernel planes_float_gemm(const NestedForm& form, unsigned width) {
  return visit_planes(form, width, [](auto codes) -> GemmKernel {
    using Codes = typename decltype(codes)::type;
    using Source = DecodedSource<PlaneSource<Codes, kFloatThreads>>;
    return {launch_float_gemm<Source>, FloatGemmLayout<Source>::kBytes, Codes::Form::kBlock};
  });
}

}  // namespace sluice::cuda

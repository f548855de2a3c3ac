#include "cuda/float_gemm.cuh"

#include "cuda/gemm_kernel.h"
#include "cuda/plain_source.cuh"
#include "cuda/unit_source.cuh"
#include "cuda/weight_units.cuh"

namespace sluice::cuda {
namespace {

template <typename Source>
GemmKernel kernel(std::uint32_t block) {
  return {launch_float_gemm<Source>, FloatGemmLayout<Source>::kBytes, block};
}

}  // namespace

GemmKernel float_gemm(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return kernel<PlainSource<float, kFloatThreads>>(1);
    case TensorType::kF16:
      return kernel<PlainSource<StoredHalfBits, kFloatThreads>>(1);
    case TensorType::kBF16:
      return kernel<PlainSource<StoredBf16Bits, kFloatThreads>>(1);
    default:
      return visit_unit(type, [](auto unit) -> GemmKernel {
        using Unit = typename decltype(unit)::type;
        return kernel<DecodedSource<UnitSource<Unit, kFloatThreads>>>(Unit::kElements);
      });
  }
}

}  // namespace sluice::cuda

#include "cuda/float_gemv.h"

#include "cuda/float_gemv.cuh"
#include "cuda/weight_units.cuh"

namespace sluice::cuda {
namespace {

template <typename Source, std::uint32_t kBlock>
cudaError_t launch_source(const ProductLaunch& launch_of, const ProductTask* tasks,
                          cudaStream_t stream) {
  if (launch_of.columns % kBlock != 0) return cudaErrorInvalidValue;
  const dim3 grid = {(launch_of.max_rows + kBlockRows - 1) / kBlockRows, launch_of.n_tasks, 1};
  const std::size_t shared = 2 * kFloatWarps * Source::kBytes + segment_sum_bytes(launch_of);
  return launch(float_gemv_kernel<Source>, grid, dim3{kFloatWarps * kWarp, 1, 1}, shared, stream,
                tasks, launch_of);
}

}  // namespace

FloatGemv* float_gemv(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return launch_source<PlainFloats<float>, 1>;
    case TensorType::kF16:
      return launch_source<PlainFloats<StoredHalfBits>, 1>;
    case TensorType::kBF16:
      return launch_source<PlainFloats<StoredBf16Bits>, 1>;
    default:
      return visit_unit(type, [](auto unit) -> FloatGemv* {
        using Unit = typename decltype(unit)::type;
        return launch_source<DecodedUnits<Unit>, Unit::kElements>;
      });
  }
}

}  // namespace sluice::cuda

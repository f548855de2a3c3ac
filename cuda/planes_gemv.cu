#include "cuda/planes_gemv.h"

#include "cuda/planes_gemv.cuh"

namespace sluice::cuda {
namespace {

template <typename Codes, template <typename> typename Sum>
cudaError_t launch_planes(const ProductLaunch& launch_of, const ProductTask* tasks,
                          cudaStream_t stream) {
  if (launch_of.columns % Codes::Form::kBlock != 0) return cudaErrorInvalidValue;
  const dim3 grid = {(launch_of.max_rows + kBlockRows - 1) / kBlockRows, launch_of.n_tasks, 1};
  return launch(planes_gemv_kernel<Codes, Sum>, grid, dim3{kPlaneWarps * kWarp, 1, 1},
                segment_sum_bytes(launch_of), stream, tasks, launch_of);
}

template <typename Form, int... kWidths>
PlanesGemv* of_width(unsigned width, bool in_float) {
  PlanesGemv* found = nullptr;
  const auto look_at = [&]<int kWidth>(std::integral_constant<int, kWidth>) {
    using Codes = NestedCodes<Form, kWidth>;
    if (width != kWidth) return;
    found = in_float ? launch_planes<Codes, FloatSum> : launch_planes<Codes, QuantisedSum>;
  };
  (look_at(std::integral_constant<int, kWidths>()), ...);
  return found;
}

}  // namespace

PlanesGemv* planes_gemv(const NestedForm& form, unsigned width, bool in_float) {
  switch (form.source) {
    case TensorType::kF32:
      return of_width<FittedForm, 2, 3, 4, 5, 6, 8>(width, in_float);
    case TensorType::kQ8_0:
      return of_width<NestedQ8_0Form, 2, 3, 4, 5, 6, 8>(width, in_float);
    case TensorType::kQ4_0:
      return of_width<NestedQ4_0Form, 2, 3, 4>(width, in_float);
    case TensorType::kMXFP4:
      return of_width<NestedMXFP4Form, 2, 3, 4>(width, in_float);
    case TensorType::kQ4_K:
      return of_width<NestedQ4_KForm, 2, 3, 4>(width, in_float);
    case TensorType::kQ6_K:
      return of_width<NestedQ6_KForm, 2, 3, 4, 5, 6>(width, in_float);
    default:  // no form's source
      return nullptr;
  }
}

}  // namespace sluice::cuda

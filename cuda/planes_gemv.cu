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

}  // namespace

PlanesGemv* planes_gemv(const NestedForm& form, unsigned width, bool in_float) {
  return visit_planes(form, width, [&](auto found) -> PlanesGemv* {
    using Codes = typename decltype(found)::type;
    return in_float ? launch_planes<Codes, FloatSum> : launch_planes<Codes, QuantisedSum>;
  });
}

}  // namespace sluice::cuda

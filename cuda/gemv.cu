#include "cuda/gemv.h"

#include "cuda/float_gemv.h"
#include "cuda/planes_gemv.h"
#include "cuda/quantised_gemv.h"

namespace sluice::cuda {

bool has_gemv(const ProductLaunch& launch) {
  if (launch.form != nullptr) {
    return planes_gemv(*launch.form, launch.width, launch.in_float) != nullptr;
  }
  return launch.in_float ? float_gemv(launch.type) != nullptr
                         : quantised_gemv(launch.type) != nullptr;
}

cudaError_t launch_gemv(const ProductLaunch& launch, const ProductTask* tasks, cudaStream_t stream,
                        const GemvTile* tile) {
  if (launch.columns == 0 || launch.max_rows == 0 || launch.n_tasks == 0 ||
      launch.n_tasks > kMostLaunchTasks || launch.max_n_rows == 0 || launch.max_n_rows > kMaxGemvRows) {
    return cudaErrorInvalidValue;
  }
  if (!has_gemv(launch)) return cudaErrorInvalidValue;
  if (launch.form != nullptr) {
    return planes_gemv(*launch.form, launch.width, launch.in_float)(launch, tasks, stream);
  }
  return launch.in_float ? float_gemv(launch.type)(launch, tasks, stream)
                         : quantised_gemv(launch.type)(launch, tasks, stream, tile);
}

}  // namespace sluice::cuda

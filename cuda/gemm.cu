#include "cuda/gemm.h"

#include "cuda/gemm_kernel.h"

namespace sluice::cuda {
namespace {

GemmKernel kernel_of(const ProductLaunch& launch) {
  if (launch.form != nullptr) {
    return launch.in_float ? planes_float_gemm(*launch.form, launch.width)
                           : planes_gemm(*launch.form, launch.width);
  }
  return launch.in_float ? float_gemm(launch.type) : quantised_gemm(launch.type);
}

}  // namespace

bool has_gemm(const ProductLaunch& launch) {
  const GemmKernel kernel = kernel_of(launch);
  return kernel.launch != nullptr && kernel.shared_bytes <= launch.shared_limit;
}

cudaError_t launch_gemm(const ProductLaunch& launch, const ProductTask* tasks,
                        cudaStream_t stream) {
  if (launch.columns == 0 || launch.max_rows == 0 || launch.n_tasks == 0 ||
      launch.n_tasks > kMostLaunchTasks || launch.max_n_rows == 0 ||
      launch.max_n_rows > kMaxGemmRows || !has_gemm(launch)) {
    return cudaErrorInvalidValue;
  }
  const GemmKernel kernel = kernel_of(launch);
  if (launch.columns % kernel.block != 0) return cudaErrorInvalidValue;
  return kernel.launch(launch, tasks, stream);
}

}  // namespace sluice::cuda

#pragma once
// The GEMM kernels of each kind of weights, for gemm.cu to choose from.

#include "cuda/gemm.h"

namespace sluice::cuda {

struct GemmKernel {
  /// As launch_gemm.
  cudaError_t (*launch)(const ProductLaunch& launch, const ProductTask* tasks,
                        cudaStream_t stream) = nullptr;  // null: there is none
  std::uint32_t shared_bytes = 0;                        // of a block
  std::uint32_t block = 1;                               // columns are a multiple of it
};

/// Quantised weights, their blocks as the file has them, × 8-bit activations.
GemmKernel quantised_gemm(TensorType type);
/// Planes × 8-bit activations.
GemmKernel planes_gemm(const NestedForm& form, unsigned width);
/// Floats, or quantised weights as floats, × float32 activations.
GemmKernel float_gemm(TensorType type);
GemmKernel planes_float_gemm(const NestedForm& form, unsigned width);

}  // namespace sluice::cuda

#pragma once
// Weights × rows of float32 activations, canonical.h's rule 3: floats as they are, and quantised
// blocks as the file has them, decoded first.

#include "base/tensor_format.h"
#include "cuda/gemv.h"

namespace sluice::cuda {

/// As launch_gemv.
using FloatGemv = cudaError_t(const ProductLaunch& launch, const ProductTask* tasks,
                              cudaStream_t stream);

/// Of a type's; null where there is none.
FloatGemv* float_gemv(TensorType type);

}  // namespace sluice::cuda

#pragma once
// Quantised weights, their blocks as the file has them, × rows of 8-bit activations: canonical.h's
// rule 2.

#include "base/tensor_format.h"
#include "cuda/gemv.h"

namespace sluice::cuda {

/// As launch_gemv.
using QuantisedGemv = cudaError_t(const ProductLaunch& launch, const ProductTask* tasks,
                                  cudaStream_t stream, const GemvTile* tile);

/// Of a type's; null where there is none.
QuantisedGemv* quantised_gemv(TensorType type);

}  // namespace sluice::cuda

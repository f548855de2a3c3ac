#pragma once
// Nested planes (base/nested_planes.h) × rows of activations in 8 bits or float32: canonical.h's
// rules 2 and 3, at the cost of the planes that a width has.

#include "base/nested_planes.h"
#include "cuda/gemv.h"

namespace sluice::cuda {

/// As launch_gemv.
using PlanesGemv = cudaError_t(const ProductLaunch& launch, const ProductTask* tasks,
                               cudaStream_t stream);

/// Of a form at a width; null where it has no such width.
PlanesGemv* planes_gemv(const NestedForm& form, unsigned width, bool in_float);

}  // namespace sluice::cuda

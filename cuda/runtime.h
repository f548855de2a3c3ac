#pragma once
// The CUDA runtime, or its stand-in on the CPU: whoever builds the room says which. Kernels and
// launchers are the same sources either way.

#ifdef SLUICE_CUDA_HOST_SHIM
#include "cuda/host_shim.h"
#else
#include <cuda_runtime.h>
#endif

#pragma once
// x86 vector intrinsics: the compiler's, or (SLUICE_SIMDE) SIMDe's plain-code ones, so that tests
// can run every kernel on any machine.

#if defined(SLUICE_SIMDE)
#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include "cpu/simde_gaps.h"
#else
#include <immintrin.h>
#endif

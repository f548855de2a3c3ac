#pragma once
// Integers under the quantised dot, sixteen 32-bit lanes, each a weight row: exact, so every
// instruction set may go its own way (kernels.h). code_lanes_generic.h says what each function
// does.
//
// Weight codes are bytes that stand for `code + offset`. Where the instruction set multiplies
// unsigned by signed bytes and adds up in 32 bits (VNNI), all formats have an offset that makes
// them unsigned. Without VNNI pairs of products are first added in 16 bits, which holds for codes
// of up to 7 bits; *wide* formats (8 bits) stay signed there, with an offset of zero, and are
// multiplied as magnitudes with the sign moved to the activations.

#include "cpu/float_lanes.h"

#if SLUICE_ISA_LEVEL >= 2
#include "cpu/code_lanes_avx512.h"
#elif SLUICE_ISA_LEVEL == 1
#include "cpu/code_lanes_avx2.h"
#else
#include "cpu/code_lanes_generic.h"
#endif

namespace sluice::SLUICE_ISA {
namespace {

// How eight-bit codes are multiplied.
constexpr bool kEightBitsAreWide = SLUICE_ISA_LEVEL == 1 || SLUICE_ISA_LEVEL == 2;
constexpr int kEightBitOffset = kEightBitsAreWide ? 0 : 128;

}  // namespace
}  // namespace sluice::SLUICE_ISA

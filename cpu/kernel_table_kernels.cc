// Gathers one instruction set's kernels into its table.

#include "cpu/dot_kernels.h"
#include "cpu/kernels.h"
#include "cpu/row_kernels.h"

namespace sluice::SLUICE_ISA {

extern const Kernels kKernels;
constinit const Kernels kKernels = {
    .quantise = quantise,
    .dot = dot,
    .silu_multiply = silu_multiply,
};

}  // namespace sluice::SLUICE_ISA

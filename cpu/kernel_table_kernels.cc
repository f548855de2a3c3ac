// Gathers one instruction set's kernels into its table.

#include "cpu/attention_kernels.h"
#include "cpu/delta_net_kernels.h"
#include "cpu/dot_kernels.h"
#include "cpu/kernels.h"
#include "cpu/norm_kernels.h"
#include "cpu/row_kernels.h"
#include "cpu/strip_kernels.h"

namespace sluice::SLUICE_ISA {

extern const Kernels kKernels;
constinit const Kernels kKernels = {
    .quantise = quantise,
    .dot = dot,
    .to_strip = to_strip,
    .activate = activate,
    .norm = norm,
    .rope = rope,
    .attention = attention,
    .delta_net_convolve = delta_net_convolve,
    .delta_net_recur = delta_net_recur,
    .store_kv_vector = store_kv_vector,
};

}  // namespace sluice::SLUICE_ISA

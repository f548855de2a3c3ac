#pragma once
// One set of tensors for every container: what a file keeps fused, transposed or as a logarithm
// becomes the tensors that the rest of Sluice asks for, as views of the file's bytes.
//
//   ffn_gate_up_exps  → ffn_gate_exps, ffn_up_exps         (weights and biases; _shexp likewise)
//   attn_qkv          → attn_q, attn_k, attn_v             (not in recurrent layers)
//   attn_kv_b         → attn_k_b [heads, rank, plain part of the key], attn_v_b [heads, value,
//   rank] ssm_in            → attn_qkv [all q, all k, all v], attn_gate ssm_ba            →
//   ssm_beta, ssm_alpha                [value heads, hidden]
// and, of Hugging Face folders, 1 + w of norms that keep w, -exp(a) of ssm_a, and vectors and
// convolutions without extents of 1.

#include "base/status.h"
#include "formats/architectures.h"
#include "formats/checkpoint.h"

namespace sluice {

/// REQUIRES: settings that the architecture implies are there. kCorrupt names a tensor whose shape
/// contradicts the settings. Also drops layers that only predict ahead.
Status arrange_tensors(Checkpoint& checkpoint, Container container,
                       const Architecture& architecture);

}  // namespace sluice

#pragma once
// Attention kernels, declared in the namespace of the instruction set that is being compiled
// (kernels.h).

#include <cstddef>

#include "cpu/attention.h"

namespace sluice::SLUICE_ISA {

void attention(const AttentionItem& item);
/// One head's vector of n floats into the KV cache's form (kv_vectors.h).
void store_kv_vector(KvType type, const float* in, std::size_t n, std::byte* out);

}  // namespace sluice::SLUICE_ISA

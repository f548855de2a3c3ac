#pragma once
// Attention over the KV cache's blocks, and the stores into them: canonical.h's rule 5, the bits
// of the CPU. Two ways to the same bits:
//
//     split  keys and values of a sequence are shared out over the GPU: scores and the largest of
//            them; sums of each segment, once the peak is known; segments, added in order. What
//            lies between goes through working memory. For few rows: decode.
//     whole  a block of threads sees all positions of up to 64 queries, twice: for the peak, and
//            once it is known. It needs no memory. For many rows: prefill.
//
// All pointers are to device memory, those inside of rows too, unless said otherwise, and must stay
// valid until the launch has run on its stream. Nothing waits.

#include <cstddef>
#include <cstdint>

#include "base/operations.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// Operations::store_kv. `values` is not read with shape.value_in_key.
cudaError_t launch_store_kv(const AttentionShape& shape, const AttentionRow* rows,
                            std::uint32_t n_rows, const float* keys, std::size_t key_stride,
                            const float* values, std::size_t value_stride, cudaStream_t stream);

/// How the work of a launch is cut; changes no bit of the result.
struct AttentionCut {
  std::uint32_t whole_from = 96;  // blocks of threads from which on long runs of rows go whole
  std::uint32_t segments = 0;     // that a block of threads of a split takes; 0: by their number
  // The launch is captured: its graph serves all rows that base/work_signature.h does not tell from
  // these, wherever `rows` has them then. Blocks of threads for what they do not see leave at once.
  bool recurs = false;
};

/// Working memory with which rows that see `positions` positions are split well: some at a time,
/// where there are many. Less is as right, and slower: rows that it does not suffice for go whole.
std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions);

/// Operations::attention. task.rows is the host's copy of `rows`, all else of the task in device
/// memory. cudaErrorInvalidValue for a shape that is none.
cudaError_t launch_attention(const AttentionTask& task, const AttentionRow* rows,
                             cudaStream_t stream, const AttentionCut& cut = {});

}  // namespace sluice::cuda

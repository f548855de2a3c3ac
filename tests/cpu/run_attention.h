#pragma once
// Compute::attention with working memory of its own.

#include <algorithm>
#include <span>
#include <stdexcept>

#include "base/aligned_buffer.h"
#include "base/compute.h"

namespace sluice::test {

inline void run_attention(Compute& compute, const AttentionShape& shape,
                          std::span<const AttentionRow> rows, const float* q, std::size_t q_stride,
                          float* out, std::size_t out_stride, const float* sinks = nullptr) {
  constexpr unsigned kThreads = 8;  // no test has more
  std::uint32_t last = 0;
  for (const AttentionRow& row : rows) last = std::max(last, row.position);
  auto memory = AlignedBuffer::allocate(compute.attention_bytes(shape, last + 1, kThreads));
  if (!memory.ok()) throw std::runtime_error(memory.status().message());
  compute.attention({.shape = shape,
                     .rows = rows,
                     .q = q,
                     .q_stride = q_stride,
                     .out = out,
                     .out_stride = out_stride,
                     .sinks = sinks,
                     .memory = {memory->data(), memory->size()}});
}

}  // namespace sluice::test

#pragma once
// Attention over the blocks of the KV cache (base/canonical.h, rule 5).
//
// The unit of work is an *item*: one kv head of a run of rows that follow one another in the same
// sequence. All query heads that share the kv head, of all rows of the run, meet each key and value
// while it is in the cache, converted to float32 once. Items are independent, so they are what the
// threads share out.

#include <cstddef>
#include <span>

#include "base/compute.h"

namespace sluice {

struct Kernels;

/// What a kernel computes: `out` of the query heads of `kv_head` for rows [0, n_rows).
/// REQUIRES: rows share the sequence, each stands one position after the one before, and `first`
/// never decreases.
struct AttentionItem {
  AttentionShape shape;
  const AttentionRow* rows = nullptr;
  std::size_t n_rows = 0;
  std::size_t kv_head = 0;
  const float* q = nullptr;  // [n_rows, heads, head_dim], rows q_stride floats apart
  std::size_t q_stride = 0;
  float* out = nullptr;  // [n_rows, heads, value_dim], rows out_stride floats apart
  std::size_t out_stride = 0;
  float* scratch = nullptr;  // 64-byte aligned, attention_scratch(…).total floats
};

/// How an item's scratch memory is laid out, in floats from its start; every part starts on a cache
/// line.
struct AttentionScratch {
  std::size_t queries = 0;  // [queries, head_dim padded to 16]
  std::size_t keys = 0;     // [kKeyTile, head_dim padded to 16]
  std::size_t values = 0;   // [kKvBlock, kValueSlice]
  std::size_t totals = 0;   // [queries, value_dim padded to 16]
  std::size_t sums = 0;     // [queries]
  std::size_t scores = 0;   // [queries, score_stride]
  std::size_t score_stride = 0;
  std::size_t total = 0;
};

inline constexpr std::size_t kKeyTile = 16;     // keys that are converted at a time
inline constexpr std::size_t kValueSlice = 64;  // value elements that are converted at a time

/// The scratch for `n_rows` rows that together see positions [first, last].
AttentionScratch attention_scratch(const AttentionShape& shape, std::size_t n_rows,
                                   std::size_t first, std::size_t last);

/// Rows from `rows[0]` on that make one run: see AttentionItem, and no more than keep the scores
/// within a thread's share of the cache. At least 1. REQUIRES: rows is not empty.
std::size_t attention_run(const AttentionShape& shape, std::span<const AttentionRow> rows);

/// Compute::attention on the calling thread's arena. Throws std::bad_alloc where the scratch cannot
/// be had.
void run_attention(const Kernels& kernels, const AttentionShape& shape,
                   std::span<const AttentionRow> rows, const float* q, std::size_t q_stride,
                   float* out, std::size_t out_stride);

/// Compute::store_kv on the calling thread's arena.
void run_store_kv(const Kernels& kernels, const AttentionShape& shape,
                  std::span<const AttentionRow> rows, const float* keys, std::size_t key_stride,
                  const float* values, std::size_t value_stride);

}  // namespace sluice

#pragma once
// Attention over the blocks of the KV cache (base/canonical.h, rule 5).
//
// The unit of work is an *item*: query heads that share a kv head, of a *run* of rows that follow
// one another in the same sequence. They all meet each key and value while it is near, converted to
// float32 once. Items are independent, so they are what the threads share out; where rows and kv
// heads alone are too few, the query heads of a kv head are divided among several items.

#include <cstddef>
#include <span>

#include "base/operations.h"

namespace sluice {

inline constexpr std::size_t kKeyTile = 16;  // keys that are converted at a time
inline constexpr std::size_t kValueSlice =
    64;  // elements of the values that are converted at a time

/// An item's working memory; every part starts on a cache line. `queries` = rows of the run × query
/// heads of the item.
struct AttentionScratch {
  float* queries = nullptr;  // [queries, head_dim rounded up to 16]
  float* keys = nullptr;     // [kKeyTile, head_dim rounded up to 16]
  float* values = nullptr;   // [kKvBlock, kValueSlice]
  float* totals = nullptr;   // [queries, value_dim rounded up to 16]
  float* sums = nullptr;     // [queries]
  float* scores =
      nullptr;  // [queries, score_stride]: of the positions from the first one's block on
  std::size_t score_stride = 0;

  /// Bytes that `carve` needs for queries that together see positions [first, last].
  static std::size_t bytes(const AttentionShape& shape, std::size_t queries, std::size_t first,
                           std::size_t last);
  /// REQUIRES: memory is 64-byte aligned and holds `bytes(…)`.
  static AttentionScratch carve(std::byte* memory, const AttentionShape& shape, std::size_t queries,
                                std::size_t first, std::size_t last);
};

/// What a kernel computes: `out` of query heads [first_head, first_head + n_heads), which all use
/// `kv_head`, for rows [0, n_rows).
/// REQUIRES: rows share the sequence, each stands one position after the one before, and `first`
/// never decreases.
struct AttentionItem {
  AttentionShape shape;
  std::size_t key_bytes = 0;    // of one head's key
  std::size_t value_bytes = 0;  // of one head's value
  const AttentionRow* rows = nullptr;
  std::size_t n_rows = 0;
  std::size_t kv_head = 0;
  std::size_t first_head = 0, n_heads = 0;
  const float* sinks = nullptr;  // [heads] or null
  const float* q = nullptr;      // [n_rows, heads, head_dim], rows q_stride floats apart
  std::size_t q_stride = 0;
  float* out = nullptr;  // [n_rows, heads, value_dim], rows out_stride floats apart
  std::size_t out_stride = 0;
  AttentionScratch scratch;
};

/// Consecutive rows [first_row, first_row + n_rows) of a batch, as AttentionItem wants them.
struct AttentionRun {
  std::size_t first_row = 0;
  std::size_t n_rows = 0;
  std::size_t work = 0;  // rows × positions
};

/// The run that starts at rows[0] for items of n_heads query heads: at most `max_rows`, and no more
/// than keep the scores near a core. REQUIRES: none is 0.
AttentionRun attention_run(std::span<const AttentionRow> rows, std::size_t n_heads,
                           std::size_t max_rows);

}  // namespace sluice

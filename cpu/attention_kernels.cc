// Attention of one item in four passes: scores of all positions, softmax weights in their place,
// weighted sums of values segment by segment, division by the sum of weights. Register tiles hold
// several query heads against several keys (or against several lanes of the values), so that what
// is loaded is used more than once; which tile computes an element does not change the order in
// which it is summed.

#include "cpu/attention_kernels.h"

#include "base/canonical.h"
#include "cpu/kv_vectors.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Query heads in a register tile; what is left over goes by ones.
constexpr int kTileQueries = kTile >= 16 ? 4 : 2;

/// The positions that a query sees, as indices of its scores.
struct Range {
  std::size_t begin, end;
  bool operator==(const Range&) const = default;
};

/// An item's sizes, worked out once.
struct Sizes {
  explicit Sizes(const AttentionItem& item)
      : group(item.n_heads),
        queries(item.n_rows * group),
        key_lanes(whole_lanes(item.shape.head_dim)),
        value_lanes(whole_lanes(item.shape.value_dim)),
        base(item.rows[0].first / kKvBlock * kKvBlock),
        first(item.rows[0].first),
        end(std::size_t{item.rows[item.n_rows - 1].position} + 1) {}

  Range seen_by(const AttentionItem& item, std::size_t query) const {
    const AttentionRow& row = item.rows[query / group];
    return {row.first - base, std::size_t{row.position} + 1 - base};
  }

  std::size_t group;        // query heads of a row
  std::size_t queries;      // of the item
  std::size_t key_lanes;    // head_dim rounded up
  std::size_t value_lanes;  // value_dim rounded up
  std::size_t base;         // position of the scores' first element, where a block begins
  std::size_t first, end;   // positions that any row sees
};

/// Where the item's vectors of a position start, which are from `first` on in a block.
inline const std::byte* vector_at(const AttentionItem& item, std::size_t first, std::size_t bytes,
                                  std::size_t position) {
  return item.rows[0].kv.blocks[position / kKvBlock] + first +
         (item.kv_head * kKvBlock + position % kKvBlock) * bytes;
}

/// The item's queries side by side, filled up with zeros to whole lanes, which changes no sum.
void pack_queries(const AttentionItem& item, const Sizes& sizes) {
  const std::size_t dim = item.shape.head_dim;
  for (std::size_t query = 0; query < sizes.queries; ++query) {
    const std::size_t head = item.first_head + query % sizes.group;
    const float* from = item.q + query / sizes.group * item.q_stride + head * dim;
    float* to = item.scratch.queries + query * sizes.key_lanes;
    std::memcpy(to, from, dim * sizeof(float));
    for (std::size_t i = dim; i < sizes.key_lanes; ++i) to[i] = 0.0f;
  }
}

/// scores[q][k] = scale * dot(query q, key k) for Q queries and the kKeyTile keys: rule 3.
template <int Q>
inline void score_tile(const float* queries, const float* keys, std::size_t lanes, float scale,
                       float* scores, std::size_t score_stride) {
  constexpr int kKeys = kTile / Q;
  for (std::size_t key = 0; key < kKeyTile; key += kKeys) {
    const float* k = keys + key * lanes;
    float total[kTile] = {};
    for (std::size_t segment = 0; segment < lanes; segment += kSegment) {
      const std::size_t end = segment + kSegment < lanes ? segment + kSegment : lanes;
      Lanes tile[kTile];
#pragma GCC unroll 16
      for (int i = 0; i < kTile; ++i) tile[i] = lanes_zero();
      for (std::size_t d = segment; d < end; d += kLanes) {
        Lanes query[Q];
#pragma GCC unroll 4
        for (int i = 0; i < Q; ++i) query[i] = lanes_load(queries + i * lanes + d);
#pragma GCC unroll 16
        for (int j = 0; j < kKeys; ++j) {
          const Lanes one = lanes_load(k + j * lanes + d);
#pragma GCC unroll 4
          for (int i = 0; i < Q; ++i) {
            tile[i * kKeys + j] = lanes_fma(query[i], one, tile[i * kKeys + j]);
          }
        }
      }
      float sums[kTile];
      lanes_sum_tile(tile, sums);
      for (int i = 0; i < kTile; ++i) total[i] += sums[i];
    }
    for (int i = 0; i < Q; ++i) {
      for (int j = 0; j < kKeys; ++j) {
        scores[i * score_stride + key + j] = scale * total[i * kKeys + j];
      }
    }
  }
}

void score_keys(const AttentionItem& item, const Sizes& sizes) {
  const AttentionScratch& scratch = item.scratch;
  for (std::size_t position = sizes.first / kKeyTile * kKeyTile; position < sizes.end;
       position += kKeyTile) {
    const std::byte* key = vector_at(item, item.rows[0].kv.keys, item.key_bytes, position);
    for (std::size_t i = 0; i < kKeyTile; ++i) {
      decode_kv_vector(item.shape.kv_type, key + i * item.key_bytes, 0, item.shape.head_dim,
                       scratch.keys + i * sizes.key_lanes);
    }
    float* scores = scratch.scores + (position - sizes.base);
    std::size_t query = 0;
    for (; query + kTileQueries <= sizes.queries; query += kTileQueries) {
      score_tile<kTileQueries>(scratch.queries + query * sizes.key_lanes, scratch.keys,
                               sizes.key_lanes, item.shape.scale,
                               scores + query * scratch.score_stride, scratch.score_stride);
    }
    for (; query < sizes.queries; ++query) {
      score_tile<1>(scratch.queries + query * sizes.key_lanes, scratch.keys, sizes.key_lanes,
                    item.shape.scale, scores + query * scratch.score_stride, scratch.score_stride);
    }
  }
}

/// scores → exp(score - peak), of which `sink`, where there is one, may be the peak. What lies
/// beyond the range, up to whole lanes, may be overwritten. Returns what the sum of weights starts
/// from.
inline float softmax_weights(float* scores, Range seen, const float* sink) {
  float peak = scores[seen.begin];
  std::size_t i = seen.begin;
  if (seen.end - seen.begin >= kLanes) {
    Lanes largest = lanes_load(scores + i);
    for (i += kLanes; i + kLanes <= seen.end; i += kLanes) {
      largest = lanes_max(largest, lanes_load(scores + i));
    }
    peak = lanes_largest(largest);
  }
  for (; i < seen.end; ++i) peak = scores[i] > peak ? scores[i] : peak;
  if (sink != nullptr && *sink > peak) peak = *sink;
  const Lanes peaks = lanes_set(peak);
  for (i = seen.begin; i < seen.end; i += kLanes) {
    lanes_store(scores + i, lanes_exp(lanes_load(scores + i) - peaks));
  }
  if (sink == nullptr) return 0.0f;
  float weights[kLanes];
  lanes_store(weights, lanes_exp(lanes_set(*sink) - peaks));
  return weights[0];
}

/// totals[q][d] += the sum over n positions of weights[q][i] * values[i][d], for Q queries and D
/// lanes' worth of d. With `kSum`, sums[q] += the sum of weights[q][i] as well.
template <int Q, int D, bool kSum>
inline void weigh_tile(const float* weights, std::size_t weight_stride, const float* values,
                       std::size_t n, float* totals, std::size_t total_stride, float* sums) {
  Lanes tile[Q * D];
  float sum[Q] = {};
#pragma GCC unroll 16
  for (int i = 0; i < Q * D; ++i) tile[i] = lanes_zero();
  for (std::size_t position = 0; position < n; ++position) {
    Lanes value[D];
#pragma GCC unroll 4
    for (int j = 0; j < D; ++j) value[j] = lanes_load(values + position * kValueSlice + j * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      const float weight = weights[i * weight_stride + position];
      const Lanes spread = lanes_set(weight);
      if constexpr (kSum) sum[i] += weight;
#pragma GCC unroll 4
      for (int j = 0; j < D; ++j) tile[i * D + j] = lanes_fma(spread, value[j], tile[i * D + j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < Q; ++i) {
    if constexpr (kSum) sums[i] += sum[i];
#pragma GCC unroll 4
    for (int j = 0; j < D; ++j) {
      float* total = totals + i * total_stride + j * kLanes;
      lanes_store(total, lanes_load(total) + tile[i * D + j]);
    }
  }
}

/// weigh_tile over a slice of `lanes` ≤ kValueSlice elements; the weights are summed along with the
/// first.
template <int Q>
inline void weigh_slice(const float* weights, std::size_t weight_stride, const float* values,
                        std::size_t n, std::size_t lanes, bool with_sums, float* totals,
                        std::size_t total_stride, float* sums) {
  constexpr int kDepth = kTile >= 16 || Q == 1 ? 4 : 2;  // as many as registers allow
  std::size_t d = 0;
  const auto weigh = [&]<int D>() __attribute__((always_inline)) {
    if (with_sums && d == 0) {
      weigh_tile<Q, D, true>(weights, weight_stride, values, n, totals, total_stride, sums);
    } else {
      weigh_tile<Q, D, false>(weights, weight_stride, values + d, n, totals + d, total_stride,
                              sums);
    }
  };
  for (; d + kDepth * kLanes <= lanes; d += kDepth * kLanes) weigh.template operator()<kDepth>();
  for (; d < lanes; d += kLanes) weigh.template operator()<1>();
}

/// Adds one segment (a KV block) to the totals of all queries, a slice of the values at a time.
void add_segment(const AttentionItem& item, const Sizes& sizes, std::size_t block) {
  const AttentionScratch& scratch = item.scratch;
  const std::size_t begin = block * kKvBlock;
  const std::size_t low = begin > sizes.first ? begin : sizes.first;
  const std::size_t high = begin + kKvBlock < sizes.end ? begin + kKvBlock : sizes.end;
  // The part of the segment that a query sees, as indices of its scores.
  const auto seen_by = [&](std::size_t query) {
    Range seen = sizes.seen_by(item, query);
    if (seen.begin < low - sizes.base) seen.begin = low - sizes.base;
    if (seen.end > high - sizes.base) seen.end = high - sizes.base;
    return seen;
  };
  const bool in_key = item.shape.value_in_key;
  const std::size_t place = in_key ? item.rows[0].kv.keys : item.rows[0].kv.values;
  const std::size_t bytes = in_key ? item.key_bytes : item.value_bytes;
  for (std::size_t slice = 0; slice < item.shape.value_dim; slice += kValueSlice) {
    const std::size_t left = item.shape.value_dim - slice;
    const std::size_t dim = left < kValueSlice ? left : kValueSlice;
    for (std::size_t position = low; position < high; ++position) {
      decode_kv_vector(item.shape.kv_type, vector_at(item, place, bytes, position), slice, dim,
                       scratch.values + (position - low) * kValueSlice);
    }
    const auto weigh = [&]<int Q>(std::size_t query, Range seen) {
      weigh_slice<Q>(
          scratch.scores + query * scratch.score_stride + seen.begin, scratch.score_stride,
          scratch.values + (seen.begin + sizes.base - low) * kValueSlice, seen.end - seen.begin,
          whole_lanes(dim), slice == 0, scratch.totals + query * sizes.value_lanes + slice,
          sizes.value_lanes, scratch.sums + query);
    };
    for (std::size_t query = 0; query < sizes.queries;) {
      const Range seen = seen_by(query);
      bool together = query + kTileQueries <= sizes.queries;
      for (std::size_t i = 1; together && i < kTileQueries; ++i)
        together = seen_by(query + i) == seen;
      const std::size_t taken = together ? kTileQueries : 1;
      if (seen.begin < seen.end) {
        if (together) {
          weigh.template operator()<kTileQueries>(query, seen);
        } else {
          weigh.template operator()<1>(query, seen);
        }
      }
      query += taken;
    }
  }
}

void write_out(const AttentionItem& item, const Sizes& sizes) {
  const std::size_t dim = item.shape.value_dim;
  for (std::size_t query = 0; query < sizes.queries; ++query) {
    const std::size_t head = item.first_head + query % sizes.group;
    float* out = item.out + query / sizes.group * item.out_stride + head * dim;
    const float* totals = item.scratch.totals + query * sizes.value_lanes;
    const Lanes sum = lanes_set(item.scratch.sums[query]);
    std::size_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) lanes_store(out + d, lanes_load(totals + d) / sum);
    if (d < dim) lanes_store_part(out + d, lanes_load(totals + d) / sum, dim - d);
  }
}

}  // namespace

void attention(const AttentionItem& item) {
  const Sizes sizes(item);
  const AttentionScratch& scratch = item.scratch;
  pack_queries(item, sizes);
  score_keys(item, sizes);
  for (std::size_t query = 0; query < sizes.queries; ++query) {
    const float* sink =
        item.sinks == nullptr ? nullptr : item.sinks + item.first_head + query % sizes.group;
    scratch.sums[query] = softmax_weights(scratch.scores + query * scratch.score_stride,
                                          sizes.seen_by(item, query), sink);
  }
  std::memset(scratch.totals, 0, sizes.queries * sizes.value_lanes * sizeof(float));
  for (std::size_t block = sizes.first / kKvBlock; block * kKvBlock < sizes.end; ++block) {
    add_segment(item, sizes, block);
  }
  write_out(item, sizes);
}

void store_kv_vector(KvType type, const float* in, std::size_t n, std::byte* out) {
  encode_kv_vector(type, in, n, out);
}

}  // namespace sluice::SLUICE_ISA

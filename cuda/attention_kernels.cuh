#pragma once
// The two ways of attention.h, out of the parts of attention_tile.cuh.

#include "cuda/attention_tile.cuh"

namespace sluice::cuda {

__device__ __forceinline__ float lowest() { return __int_as_float(static_cast<int>(0xff800000u)); }
// Whatever is not a number makes its weight none, too, and with it the sum: the peak may be any.
__device__ __forceinline__ float larger(float a, float b) { return b > a ? b : a; }

/// The positions [from, end) that a query sees.
struct Seen {
  std::uint32_t from, end;
  __device__ __forceinline__ explicit Seen(const AttentionRow& row)
      : from(row.first), end(row.position + 1) {}
  __device__ __forceinline__ bool has(std::uint32_t position) const {
    return position >= from && position < end;
  }
};

__device__ __forceinline__ float with_sink(const AttentionArguments& arguments,
                                           const AttentionTile& tile, std::uint32_t query,
                                           float peak) {
  return arguments.sinks == nullptr ? peak : larger(peak, arguments.sinks[tile.head(query)]);
}
/// What the sum of a query's weights starts from.
__device__ __forceinline__ float sum_before(const AttentionArguments& arguments,
                                            const AttentionTile& tile, std::uint32_t query,
                                            float peak) {
  return arguments.sinks == nullptr ? 0.0f
                                    : canonical_exp(arguments.sinks[tile.head(query)] - peak);
}
__device__ __forceinline__ float* output_of(const AttentionArguments& arguments,
                                            const AttentionTile& tile, std::uint32_t query) {
  return arguments.out + (tile.first_row + query / tile.n_heads) * arguments.out_stride +
         std::size_t{tile.head(query)} * arguments.value_dim;
}

template <typename Scores, typename Outputs>
std::size_t whole_shared_bytes(std::uint32_t head_dim) {
  return (Scores::kQueries * (query_stride(head_dim) + std::size_t{1}) + Scores::kChunkFloats +
          kBlockPositions * Outputs::kWeightStride) *
         sizeof(float);
}

/// A block of threads is a tile and a slice of its values. Tiles are begun from the last, which
/// sees the most positions of its sequence.
template <KvType kType, typename Scores, typename Outputs>
__global__ void __launch_bounds__(Scores::kThreads)
    whole_attention_kernel(AttentionArguments arguments, RowRuns runs) {
  using Reader = typename Scorer<kType, Scores>::Reader;
  static_assert(Scores::kQueries == Outputs::kQueries && Scores::kThreads == Outputs::kThreads &&
                Scores::kChunkFloats >= Outputs::kChunkFloats &&
                Scores::kQueries * Scores::kKeyGroups <= kBlockPositions * Outputs::kWeightStride);
  const AttentionTile tile(arguments, runs, gridDim.x - 1 - blockIdx.x);
  const std::uint32_t slice = blockIdx.y * Outputs::kSlice;
  auto* const queries = reinterpret_cast<float*>(dynamic_shared());
  float* const chunk = queries + Scores::kQueries * query_stride(arguments.head_dim);
  float* const weights = chunk + Scores::kChunkFloats;
  float* const peaks = weights + kBlockPositions * Outputs::kWeightStride;
  float* const maxima = weights;  // [kKeyGroups, kQueries]

  Scorer<kType, Scores> scorer;
  Reader reader;
  const Seen seen(tile.row(scorer.query()));
  load_queries<Scores>(arguments, tile, queries);
  const auto read_keys = [&](std::uint32_t block, std::uint32_t pass) {
    scorer.read_first(reader, keys_of<kType>(arguments, tile, block), pass, tile.positions(block));
  };
  read_keys(tile.first_block, 0);
  float peak = lowest();
  for (std::uint32_t block = tile.first_block; block <= tile.last_block; ++block) {
    const auto keys = keys_of<kType>(arguments, tile, block);
    for (std::uint32_t pass = 0; pass < Scores::kPasses; ++pass) {
      scorer.run(arguments, keys, pass, tile.positions(block), queries, chunk, reader, [&] {
        if (pass + 1 < Scores::kPasses) {
          read_keys(block, pass + 1);
        } else {
          read_keys(block < tile.last_block ? block + 1 : tile.first_block, 0);
        }
      });
      const std::uint32_t position = block * kBlockPositions + scorer.key(pass);
#pragma unroll
      for (std::uint32_t i = 0; i < Scores::kKeys; ++i) {
        if (seen.has(position + i)) peak = larger(peak, scorer.score(i));
      }
    }
  }
  maxima[scorer.key_group() * Scores::kQueries + scorer.query()] = peak;
  __syncthreads();
  if (threadIdx.x < Scores::kQueries) {
    float largest = maxima[threadIdx.x];
    for (std::uint32_t i = 1; i < Scores::kKeyGroups; ++i) {
      largest = larger(largest, maxima[i * Scores::kQueries + threadIdx.x]);
    }
    peaks[threadIdx.x] = with_sink(arguments, tile, threadIdx.x, largest);
  }
  __syncthreads();
  peak = peaks[scorer.query()];

  Weigher<kType, Outputs> weigher;
  float sum = 0.0f;
  if (weigher.sums()) {
    const std::uint32_t query = weigher.summed_query();
    sum = sum_before(arguments, tile, query, peaks[query]);
  }
  float totals[Outputs::kOwn][4] = {};
  for (std::uint32_t block = tile.first_block; block <= tile.last_block; ++block) {
    const auto keys = keys_of<kType>(arguments, tile, block);
    const auto values = values_of<kType>(arguments, tile, block);
    const std::uint32_t positions = tile.positions(block);
    for (std::uint32_t pass = 0; pass < Scores::kPasses; ++pass) {
      scorer.run(arguments, keys, pass, positions, queries, chunk, reader, [&] {
        if (pass + 1 < Scores::kPasses) {
          read_keys(block, pass + 1);
        } else {
          weigher.read_first(reader, values, positions, slice);
        }
      });
      const std::uint32_t key = scorer.key(pass);
      float* const mine = weights + key * Outputs::kWeightStride + scorer.query();
#pragma unroll
      for (std::uint32_t i = 0; i < Scores::kKeys; ++i) {
        mine[i * Outputs::kWeightStride] = seen.has(block * kBlockPositions + key + i)
                                               ? canonical_exp(scorer.score(i) - peak)
                                               : kUnseen;
      }
    }
    weigher.run(values, positions, slice, tile.all_see(block), weights, chunk, reader, [&] {
      if (block < tile.last_block) read_keys(block + 1, 0);
    });
    sum += weigher.sum();
#pragma unroll
    for (std::uint32_t i = 0; i < Outputs::kOwn; ++i) {
#pragma unroll
      for (std::uint32_t j = 0; j < 4; ++j) totals[i][j] += weigher.output(i, j);
    }
  }
  float* const sums = peaks;  // which were read for the last time before all these segments
  if (weigher.sums()) sums[weigher.summed_query()] = sum;
  __syncthreads();
  const std::uint32_t first = slice + weigher.element();
#pragma unroll
  for (std::uint32_t i = 0; i < Outputs::kOwn; ++i) {
    const std::uint32_t query = weigher.first_query() + i;
    if (query >= tile.queries()) continue;
    float* const out = output_of(arguments, tile, query) + first;
    const float by = sums[query];
#pragma unroll
    for (std::uint32_t j = 0; j < 4; ++j) {
      if (first + j < arguments.value_dim) out[j] = totals[i][j] / by;
    }
  }
}

/// What lies between the kernels of a split. Segments are counted from their tile's first, tiles
/// from the launch's first; `queries` there are of each.
struct SplitMemory {
  float* scores;    // [tiles, queries, segments, kBlockPositions]
  float* maxima;    // [tiles, shares, queries]
  float* sums;      // [tiles, segments, queries]
  float* starts;    // [tiles, queries]: of the sums
  float* partials;  // [tiles, segments, queries, value_dim]
  std::uint32_t queries, segments, shares;
  std::uint32_t segments_of_share;  // that a block of threads takes
  std::uint32_t first_unit;

  static std::size_t floats(std::uint32_t tiles, std::uint32_t queries, std::uint32_t segments,
                            std::uint32_t value_dim) {
    return std::size_t{tiles} * queries *
           (std::size_t{segments} * (kBlockPositions + 2 + value_dim) + 1);
  }
  __device__ __forceinline__ float* scores_of(std::uint32_t tile, std::uint32_t query,
                                              std::uint32_t segment) const {
    return scores + ((std::size_t{tile} * queries + query) * segments + segment) * kBlockPositions;
  }
  __device__ __forceinline__ float& maximum(std::uint32_t tile, std::uint32_t share,
                                            std::uint32_t query) const {
    return maxima[(std::size_t{tile} * shares + share) * queries + query];
  }
  __device__ __forceinline__ std::size_t place(std::uint32_t tile, std::uint32_t segment,
                                               std::uint32_t query) const {
    return (std::size_t{tile} * segments + segment) * queries + query;
  }
};

template <typename Scores>
std::size_t split_scores_shared_bytes(std::uint32_t head_dim) {
  return (std::size_t{Scores::kQueries} * query_stride(head_dim) + Scores::kChunkFloats) *
         sizeof(float);
}

/// Scores of a share of a tile's segments, and the largest of each query.
template <KvType kType, typename Scores>
__global__ void __launch_bounds__(Scores::kThreads)
    split_scores_kernel(AttentionArguments arguments, RowRuns runs, SplitMemory memory) {
  static_assert(Scores::kQueries * Scores::kKeyGroups <= Scores::kChunkFloats);
  const AttentionTile tile(arguments, runs, memory.first_unit + blockIdx.x);
  const std::uint32_t first = blockIdx.y * memory.segments_of_share;
  if (first >= tile.blocks()) return;
  const std::uint32_t end = min(first + memory.segments_of_share, tile.blocks());
  auto* const queries = reinterpret_cast<float*>(dynamic_shared());
  float* const chunk = queries + Scores::kQueries * query_stride(arguments.head_dim);

  Scorer<kType, Scores> scorer;
  typename Scorer<kType, Scores>::Reader reader;
  const auto read_keys = [&](std::uint32_t block, std::uint32_t pass) {
    scorer.read_first(reader, keys_of<kType>(arguments, tile, block), pass, tile.positions(block));
  };
  read_keys(tile.first_block + first, 0);
  const Seen seen(tile.row(scorer.query()));
  load_queries<Scores>(arguments, tile, queries);
  float peak = lowest();
  for (std::uint32_t segment = first; segment < end; ++segment) {
    const std::uint32_t block = tile.first_block + segment;
    const auto keys = keys_of<kType>(arguments, tile, block);
    for (std::uint32_t pass = 0; pass < Scores::kPasses; ++pass) {
      scorer.run(arguments, keys, pass, tile.positions(block), queries, chunk, reader, [&] {
        if (pass + 1 < Scores::kPasses) {
          read_keys(block, pass + 1);
        } else if (segment + 1 < end) {
          read_keys(block + 1, 0);
        }
      });
      const std::uint32_t key = scorer.key(pass);
#pragma unroll
      for (std::uint32_t i = 0; i < Scores::kKeys; ++i) {
        if (seen.has(block * kBlockPositions + key + i)) peak = larger(peak, scorer.score(i));
      }
      if (scorer.query() < tile.queries()) {
        float* const to = memory.scores_of(blockIdx.x, scorer.query(), segment) + key;
#pragma unroll
        for (std::uint32_t i = 0; i < Scores::kKeys; i += 4) {
          *reinterpret_cast<float4*>(to + i) = make_float4(
              scorer.score(i), scorer.score(i + 1), scorer.score(i + 2), scorer.score(i + 3));
        }
      }
    }
  }
  __syncthreads();
  float* const maxima = chunk;  // [kKeyGroups, kQueries]
  maxima[scorer.key_group() * Scores::kQueries + scorer.query()] = peak;
  __syncthreads();
  if (threadIdx.x < tile.queries()) {
    float largest = maxima[threadIdx.x];
    for (std::uint32_t i = 1; i < Scores::kKeyGroups; ++i) {
      largest = larger(largest, maxima[i * Scores::kQueries + threadIdx.x]);
    }
    memory.maximum(blockIdx.x, blockIdx.y, threadIdx.x) = largest;
  }
}

template <typename Outputs>
std::size_t split_outputs_shared_bytes() {
  return (std::size_t{Outputs::kChunkFloats} + kBlockPositions * Outputs::kWeightStride +
          3 * Outputs::kQueries) *
         sizeof(float);
}

/// Sums and outputs of a share's segments, each for itself, for a slice of the values.
template <KvType kType, typename Outputs>
__global__ void __launch_bounds__(Outputs::kThreads)
    split_outputs_kernel(AttentionArguments arguments, RowRuns runs, SplitMemory memory) {
  constexpr std::uint32_t kStrands = Outputs::kThreads / Outputs::kQueries;
  static_assert(Outputs::kThreads <= Outputs::kChunkFloats);
  const AttentionTile tile(arguments, runs, memory.first_unit + blockIdx.x);
  const std::uint32_t first = blockIdx.y * memory.segments_of_share;
  if (first >= tile.blocks()) return;
  const std::uint32_t end = min(first + memory.segments_of_share, tile.blocks());
  const std::uint32_t slice = blockIdx.z * Outputs::kSlice;
  auto* const chunk = reinterpret_cast<float*>(dynamic_shared());
  float* const weights = chunk + Outputs::kChunkFloats;
  float* const peaks = weights + kBlockPositions * Outputs::kWeightStride;
  auto* const seen_from = reinterpret_cast<std::uint32_t*>(peaks + Outputs::kQueries);
  std::uint32_t* const seen_end = seen_from + Outputs::kQueries;

  Weigher<kType, Outputs> weigher;
  typename Weigher<kType, Outputs>::Reader reader;
  const auto read_values = [&](std::uint32_t block) {
    weigher.read_first(reader, values_of<kType>(arguments, tile, block), tile.positions(block),
                       slice);
  };
  read_values(tile.first_block + first);
  float* const maxima = chunk;  // [kStrands, kQueries]
  {
    const std::uint32_t query = threadIdx.x % Outputs::kQueries;
    const std::uint32_t shares =
        (tile.blocks() + memory.segments_of_share - 1) / memory.segments_of_share;
    float largest = lowest();
    if (query < tile.queries()) {
      for (std::uint32_t i = threadIdx.x / Outputs::kQueries; i < shares; i += kStrands) {
        largest = larger(largest, memory.maximum(blockIdx.x, i, query));
      }
    }
    maxima[threadIdx.x] = largest;
  }
  __syncthreads();
  if (threadIdx.x < Outputs::kQueries) {
    float peak = maxima[threadIdx.x];
    for (std::uint32_t i = 1; i < kStrands; ++i) {
      peak = larger(peak, maxima[i * Outputs::kQueries + threadIdx.x]);
    }
    peak = with_sink(arguments, tile, threadIdx.x, peak);
    peaks[threadIdx.x] = peak;
    if (blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x < tile.queries()) {
      memory.starts[std::size_t{blockIdx.x} * memory.queries + threadIdx.x] =
          sum_before(arguments, tile, threadIdx.x, peak);
    }
    const Seen seen(tile.row(threadIdx.x));
    seen_from[threadIdx.x] = seen.from;
    seen_end[threadIdx.x] = seen.end;
  }
  for (std::uint32_t segment = first; segment < end; ++segment) {
    const std::uint32_t block = tile.first_block + segment;
    __syncthreads();  // the last segment's weights are done with
    for (std::uint32_t i = threadIdx.x; i < Outputs::kQueries * kBlockPositions;
         i += Outputs::kThreads) {
      const std::uint32_t query = i / kBlockPositions, place = i % kBlockPositions;
      const std::uint32_t position = block * kBlockPositions + place;
      float weight = 0.0f;  // of a query that there is none of
      if (query < tile.queries()) {
        weight =
            position >= seen_from[query] && position < seen_end[query]
                ? canonical_exp(memory.scores_of(blockIdx.x, query, segment)[place] - peaks[query])
                : kUnseen;
      }
      weights[place * Outputs::kWeightStride + query] = weight;
    }
    weigher.run(values_of<kType>(arguments, tile, block), tile.positions(block), slice,
                tile.all_see(block), weights, chunk, reader, [&] {
                  if (segment + 1 < end) read_values(block + 1);
                });
    if (weigher.sums() && blockIdx.z == 0 && weigher.summed_query() < tile.queries()) {
      memory.sums[memory.place(blockIdx.x, segment, weigher.summed_query())] = weigher.sum();
    }
#pragma unroll
    for (std::uint32_t i = 0; i < Outputs::kOwn; ++i) {
      const std::uint32_t query = weigher.first_query() + i;
      if (query >= tile.queries()) continue;
      const std::uint32_t d = slice + weigher.element();
      float* const to =
          memory.partials + memory.place(blockIdx.x, segment, query) * arguments.value_dim + d;
#pragma unroll
      for (std::uint32_t j = 0; j < 4; ++j) {
        if (d + j < arguments.value_dim) to[j] = weigher.output(i, j);
      }
    }
  }
}

inline constexpr std::uint32_t kFinishThreads = 32;  // few: there are few outputs of a decode step

/// Segments, added in order. A thread is an element of a query's output.
__global__ void __launch_bounds__(kFinishThreads)
    split_finish_kernel(AttentionArguments arguments, RowRuns runs, SplitMemory memory) {
  const std::uint32_t unit = blockIdx.x / memory.queries, query = blockIdx.x % memory.queries;
  const AttentionTile tile(arguments, runs, memory.first_unit + unit);
  const std::uint32_t d = blockIdx.y * kFinishThreads + threadIdx.x;
  if (query >= tile.queries() || d >= arguments.value_dim) return;
  float sum = memory.starts[std::size_t{unit} * memory.queries + query];
  float total = 0.0f;
  const float* const sums = memory.sums + memory.place(unit, 0, query);
  const float* const partials =
      memory.partials + memory.place(unit, 0, query) * arguments.value_dim + d;
  const std::size_t step = std::size_t{memory.queries} * arguments.value_dim;
  const std::uint32_t segments = tile.blocks();
#pragma unroll 16
  for (std::uint32_t i = 0; i < segments; ++i) {
    sum += sums[std::size_t{i} * memory.queries];
    total += partials[i * step];
  }
  output_of(arguments, tile, query)[d] = total / sum;
}

/// A warp stores 32 elements of a key (blockIdx.y 0) or of a value.
inline constexpr std::uint32_t kStoreThreads = 256;

struct StoredVectors {
  const float* from;  // [rows, kv_heads, elements], rows a stride of floats apart
  std::size_t stride;
  std::uint32_t elements, bytes;  // of a vector, and of it in the cache
};

struct StoreArguments {
  const AttentionRow* rows;
  StoredVectors keys, values;
  std::uint32_t n_rows, kv_heads;
  KvType type;
};

__global__ void __launch_bounds__(kStoreThreads) store_kv_kernel(StoreArguments arguments) {
  const bool value = blockIdx.y != 0;
  const StoredVectors vectors = value ? arguments.values : arguments.keys;
  const std::uint32_t elements = vectors.elements;
  const std::uint32_t pieces = (elements + 31) / 32;
  std::size_t index = (std::size_t{blockIdx.x} * kStoreThreads + threadIdx.x) / 32;
  if (index >= std::size_t{arguments.n_rows} * arguments.kv_heads * pieces) return;  // a whole warp
  const auto d = static_cast<std::uint32_t>(index % pieces * 32);
  index /= pieces;
  const auto head = static_cast<std::uint32_t>(index % arguments.kv_heads);
  index /= arguments.kv_heads;
  const AttentionRow row = arguments.rows[index];
  const float* const from =
      vectors.from + index * vectors.stride + std::size_t{head} * elements + d;
  const std::size_t vector = std::size_t{head} * kBlockPositions + row.position % kBlockPositions;
  std::byte* const to = row.kv.blocks[row.position / kBlockPositions] +
                        (value ? row.kv.values : row.kv.keys) + vector * vectors.bytes;
  const std::uint32_t lane = threadIdx.x % 32;
  encode_elements(arguments.type, d + lane < elements ? from[lane] : 0.0f, d, elements, to);
}

}  // namespace sluice::cuda

#pragma once
// What attention's kernels do to a tile: queries that share a key/value head, against the positions
// of one KV block. Keys and values come through registers to shared memory as float32, a chunk at a
// time, the next one being read while this one is computed with.
//
// Scores: rule 3's sixteen lanes are eight threads with two lanes each (l and l + 8, the first to
// be added) of a square of queries and keys. Elements lie in shared memory so that both are side by
// side; the eight threads then add up by halves, each time handing over the half of the square that
// the other one goes on with.
//
// Outputs: a thread has some queries and four elements of the values, and sums positions in order.

#include <cstdint>

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"
#include "cuda/kv_vectors.cuh"

namespace sluice::cuda {

inline constexpr std::uint32_t kBlockPositions = kKvBlock;
inline constexpr std::uint32_t kKeyChunk =
    64;  // elements of keys that are in shared memory at once
inline constexpr std::uint32_t kKeyStride = kKeyChunk + 2;  // so that neighbours miss each other
inline constexpr std::uint32_t kThreadQueries = 8;          // of the square of a thread
inline constexpr std::uint32_t kLaneThreads = 8;
inline constexpr float kUnseen = -1.0f;  // in the place of a weight, which is never negative

/// How a tile's scores are shared out over the threads of a block.
template <std::uint32_t kQueriesOf, std::uint32_t kKeysOf, std::uint32_t kThreadsOf>
struct ScoreTile {
  static constexpr std::uint32_t kQueries = kQueriesOf;
  static constexpr std::uint32_t kKeys = kKeysOf;  // of the square of a thread
  static constexpr std::uint32_t kThreads = kThreadsOf;
  static constexpr std::uint32_t kQueryGroups = kQueries / kThreadQueries;
  static constexpr std::uint32_t kKeyGroups = kThreads / kLaneThreads / kQueryGroups;
  static constexpr std::uint32_t kPassKeys = kKeyGroups * kKeys;
  static constexpr std::uint32_t kPasses = kBlockPositions / kPassKeys;
  static constexpr std::uint32_t kChunkFloats = kPassKeys * kKeyStride;
  static constexpr std::uint32_t kQuads = kPassKeys * kKeyChunk / 4 / kThreads;
};

/// A task in numbers, and how it was cut.
struct AttentionArguments {
  const AttentionRow* rows;
  const float* q;
  float* out;
  const float* sinks;
  std::size_t q_stride, out_stride;
  std::uint32_t heads, kv_heads, head_dim, value_dim;
  std::uint32_t group;       // heads of a key/value head,
  std::uint32_t tile_heads;  // how many of them a tile has at most,
  std::uint32_t parts;       // and the number of tiles that they so become
  std::uint32_t key_bytes, value_bytes;
  bool value_in_key;
  float scale;

  __device__ __host__ std::uint32_t units() const { return kv_heads * parts; }  // of a run of rows
};

/// Runs of rows of a launch, as kernels take them by value: first row and number of rows of each.
struct RowRuns {
  static constexpr std::uint32_t kMost = 480;
  static constexpr std::uint32_t kCountShift = 24;
  std::uint32_t count = 0;
  std::uint32_t packed[kMost];
};

struct AttentionTile {
  /// Units are tiles: runs of rows × key/value heads × parts of their query heads.
  __device__ __forceinline__ AttentionTile(const AttentionArguments& arguments, const RowRuns& runs,
                                           std::uint32_t unit) {
    const std::uint32_t run = runs.packed[unit / arguments.units()];
    first_row = run & ((1u << RowRuns::kCountShift) - 1);
    rows = arguments.rows + first_row;
    n_rows = run >> RowRuns::kCountShift;
    kv_head = unit % arguments.units() / arguments.parts;
    const std::uint32_t in_group = unit % arguments.parts * arguments.tile_heads;
    first_head = kv_head * arguments.group + in_group;
    n_heads = min(arguments.tile_heads, arguments.group - in_group);
    first_block = rows[0].first / kBlockPositions;
    last_block = rows[n_rows - 1].position / kBlockPositions;
    all_from = rows[n_rows - 1].first;
    all_end = rows[0].position + 1;
    end = rows[n_rows - 1].position + 1;
  }

  __device__ __forceinline__ std::uint32_t queries() const { return n_rows * n_heads; }
  __device__ __forceinline__ std::uint32_t blocks() const { return last_block - first_block + 1; }
  /// Whether every query sees every position of the block.
  __device__ __forceinline__ bool all_see(std::uint32_t block) const {
    return block * kBlockPositions >= all_from && (block + 1) * kBlockPositions <= all_end;
  }
  /// How many of a block's positions any query may see.
  __device__ __forceinline__ std::uint32_t positions(std::uint32_t block) const {
    return min(kBlockPositions, end - block * kBlockPositions);
  }
  /// The row of a query; of one that there is none of, the last.
  __device__ __forceinline__ const AttentionRow& row(std::uint32_t query) const {
    return rows[min(query / n_heads, n_rows - 1)];
  }
  __device__ __forceinline__ std::uint32_t head(std::uint32_t query) const {
    return first_head + query % n_heads;
  }

  const AttentionRow* rows;
  std::uint32_t first_row, n_rows, kv_head, first_head, n_heads;
  std::uint32_t first_block, last_block;  // that any query sees
  std::uint32_t all_from, all_end, end;   // positions [all_from, all_end) are seen by all
};

/// The vectors of the tile's head from `begin` of a block on.
template <KvType kType>
__device__ __forceinline__ KvVectors<kType> vectors_of(const AttentionTile& tile,
                                                       std::uint32_t block, std::size_t begin,
                                                       std::uint32_t bytes,
                                                       std::uint32_t elements) {
  begin += std::size_t{tile.kv_head} * kBlockPositions * bytes;
  return {tile.rows[0].kv.blocks[block] + begin, bytes, elements};
}
template <KvType kType>
__device__ __forceinline__ KvVectors<kType> keys_of(const AttentionArguments& arguments,
                                                    const AttentionTile& tile,
                                                    std::uint32_t block) {
  return vectors_of<kType>(tile, block, tile.rows[0].kv.keys, arguments.key_bytes,
                           arguments.head_dim);
}
template <KvType kType>
__device__ __forceinline__ KvVectors<kType> values_of(const AttentionArguments& arguments,
                                                      const AttentionTile& tile,
                                                      std::uint32_t block) {
  const KvView& kv = tile.rows[0].kv;
  return arguments.value_in_key
             ? vectors_of<kType>(tile, block, kv.keys, arguments.key_bytes, arguments.value_dim)
             : vectors_of<kType>(tile, block, kv.values, arguments.value_bytes,
                                 arguments.value_dim);
}

/// Where element d lies among those of its chunk: lanes l and l + 8 side by side.
__device__ __host__ __forceinline__ std::uint32_t lane_place(std::uint32_t d) {
  return d / 16 * 16 + d % 8 * 2 + d % 16 / 8;
}
__device__ __host__ __forceinline__ std::uint32_t query_stride(std::uint32_t head_dim) {
  return (head_dim + 15) / 16 * 16 + 2;
}

/// The chunk that is being read: kQuads of each of kThreads threads.
template <KvType kType, std::uint32_t kThreads, std::uint32_t kQuads>
class ChunkReader {
 public:
  /// Elements [d, d + kElements) of vectors from `first` on. Those past `end` are not read.
  template <std::uint32_t kElements>
  __device__ __forceinline__ void read(const KvVectors<kType>& vectors, std::uint32_t first,
                                       std::uint32_t end, std::uint32_t d) {
    const bool aligned = vectors.aligned();
#pragma unroll
    for (std::uint32_t i = 0; i < kQuads; ++i) {
      const std::uint32_t quad = threadIdx.x + i * kThreads;
      const std::uint32_t vector = first + quad / (kElements / 4);
      quads_[i] = {};
      if (vector < end) {
        quads_[i] = load_quad(vectors, aligned, vector, d + quad % (kElements / 4) * 4);
      }
    }
  }
  /// As keys are wanted: kKeyChunk elements of each.
  __device__ __forceinline__ void store_lanes(float* chunk) const {
#pragma unroll
    for (std::uint32_t i = 0; i < kQuads; ++i) {
      const std::uint32_t quad = threadIdx.x + i * kThreads;
      const float4 x = decode_quad(quads_[i]);
      float* const to =
          chunk + quad / (kKeyChunk / 4) * kKeyStride + lane_place(quad % (kKeyChunk / 4) * 4);
      to[0] = x.x;
      to[2] = x.y;
      to[4] = x.z;
      to[6] = x.w;
    }
  }
  /// As values are wanted: one after the other.
  __device__ __forceinline__ void store_plain(float* chunk) const {
#pragma unroll
    for (std::uint32_t i = 0; i < kQuads; ++i) {
      const std::uint32_t quad = threadIdx.x + i * kThreads;
      reinterpret_cast<float4*>(chunk)[quad] = decode_quad(quads_[i]);
    }
  }

 private:
  RawQuad<kType> quads_[kQuads];
};

/// The tile's queries into shared memory `[kQueries, query_stride]`, with zeros up to whole lanes
/// and for queries that there are none of.
template <typename Tile>
__device__ __forceinline__ void load_queries(const AttentionArguments& arguments,
                                             const AttentionTile& tile, float* queries) {
  const std::uint32_t stride = query_stride(arguments.head_dim);
  const std::uint32_t elements = stride - 2;
  for (std::uint32_t i = threadIdx.x; i < Tile::kQueries * elements; i += Tile::kThreads) {
    const std::uint32_t query = i / elements, d = i % elements;
    float x = 0.0f;
    if (query < tile.queries() && d < arguments.head_dim) {
      const float* const row =
          arguments.q + (tile.first_row + query / tile.n_heads) * arguments.q_stride;
      x = row[std::size_t{tile.head(query)} * arguments.head_dim + d];
    }
    queries[query * stride + lane_place(d)] = x;
  }
}

/// Adds up by halves over the eight threads of a square: sums[i] of the first kCount become those
/// of the kCount / 8 that belong to this thread, the (lane * kCount / 8)-th and following.
template <std::uint32_t kMask, std::uint32_t kCount, std::uint32_t kAll>
__device__ __forceinline__ void fold_lanes(float (&sums)[kAll], std::uint32_t lane) {
  constexpr std::uint32_t kHalf = kCount / 2;
  const bool upper = (lane & kMask) != 0;
#pragma unroll
  for (std::uint32_t i = 0; i < kHalf; ++i) {
    const float kept = upper ? sums[i + kHalf] : sums[i];
    sums[i] = kept + __shfl_xor_sync(0xffffffffu, upper ? sums[i] : sums[i + kHalf], kMask);
  }
  if constexpr (kMask > 1) fold_lanes<kMask / 2, kHalf>(sums, lane);
}

/// A thread's part in scores.
template <KvType kType, typename Tile>
class Scorer {
 public:
  using Reader = ChunkReader<kType, Tile::kThreads, Tile::kQuads>;

  __device__ __forceinline__ Scorer() {
    lane_ = threadIdx.x % kLaneThreads;
    const std::uint32_t square = threadIdx.x / kLaneThreads;
    if constexpr (Tile::kQueryGroups == 1) {
      query_group_ = 0;
      key_group_ = square;
    } else {
      // A warp is two by two squares, which share what they load.
      constexpr std::uint32_t kPairs = Tile::kQueryGroups / 2;
      query_group_ = square / 4 % kPairs * 2 + square % 2;
      key_group_ = square / 4 / kPairs * 2 + square / 2 % 2;
    }
  }

  /// The query whose scores this thread comes to have, of keys [key(0), key(Tile::kKeys)).
  __device__ __forceinline__ std::uint32_t query() const {
    return query_group_ * kThreadQueries + lane_;
  }
  __device__ __forceinline__ std::uint32_t key(std::uint32_t pass) const {
    return pass * Tile::kPassKeys + key_group_ * Tile::kKeys;
  }
  __device__ __forceinline__ std::uint32_t key_group() const { return key_group_; }
  __device__ __forceinline__ float score(std::uint32_t i) const { return scores_[i]; }

  static __device__ __forceinline__ void read_first(Reader& reader, const KvVectors<kType>& keys,
                                                    std::uint32_t pass, std::uint32_t end) {
    reader.template read<kKeyChunk>(keys, pass * Tile::kPassKeys, end, 0);
  }

  /// Scores of a pass's keys, whose first chunk `reader` has; read_next is called once, when the
  /// last one is on its way to shared memory, to read what comes after.
  template <typename ReadNext>
  __device__ __forceinline__ void run(const AttentionArguments& arguments,
                                      const KvVectors<kType>& keys, std::uint32_t pass,
                                      std::uint32_t end, const float* queries, float* chunk,
                                      Reader& reader, ReadNext read_next) {
    constexpr std::uint32_t kSquare = kThreadQueries * Tile::kKeys;
    const std::uint32_t stride = query_stride(arguments.head_dim);
    const float* const query_rows = queries + query_group_ * kThreadQueries * stride + 2 * lane_;
    const float* const key_rows = chunk + key_group_ * Tile::kKeys * kKeyStride + 2 * lane_;
#pragma unroll
    for (std::uint32_t i = 0; i < Tile::kKeys; ++i) scores_[i] = 0.0f;
    float low[kSquare], high[kSquare];  // lanes l and l + 8
    for (std::uint32_t d = 0; d < arguments.head_dim; d += kKeyChunk) {
      __syncthreads();  // the last chunk is done with
      reader.store_lanes(chunk);
      const std::uint32_t next = d + kKeyChunk;
      if (next < arguments.head_dim) {
        reader.template read<kKeyChunk>(keys, pass * Tile::kPassKeys, end, next);
      } else {
        read_next();
      }
      __syncthreads();
      if (d % kSegment == 0) {
#pragma unroll
        for (std::uint32_t i = 0; i < kSquare; ++i) low[i] = high[i] = 0.0f;
      }
      const std::uint32_t steps = (min(kKeyChunk, arguments.head_dim - d) + 15) / 16;
#pragma unroll 1
      for (std::uint32_t step = 0; step < steps; ++step) {
        multiply(query_rows + d + 16 * step, stride, key_rows + 16 * step, low, high);
      }
      if (next % kSegment == 0 || next >= arguments.head_dim) {
#pragma unroll
        for (std::uint32_t i = 0; i < kSquare; ++i) low[i] += high[i];
        fold_lanes<kLaneThreads / 2, kSquare>(low, lane_);
#pragma unroll
        for (std::uint32_t i = 0; i < Tile::kKeys; ++i) scores_[i] += low[i];
      }
    }
#pragma unroll
    for (std::uint32_t i = 0; i < Tile::kKeys; ++i) scores_[i] = arguments.scale * scores_[i];
  }

 private:
  template <std::uint32_t kSquare>
  static __device__ __forceinline__ void multiply(const float* queries, std::uint32_t stride,
                                                  const float* keys, float (&low)[kSquare],
                                                  float (&high)[kSquare]) {
    float2 key[Tile::kKeys];
#pragma unroll
    for (std::uint32_t j = 0; j < Tile::kKeys; ++j) {
      key[j] = *reinterpret_cast<const float2*>(keys + j * kKeyStride);
    }
#pragma unroll
    for (std::uint32_t i = 0; i < kThreadQueries; ++i) {
      const float2 query = *reinterpret_cast<const float2*>(queries + i * stride);
#pragma unroll
      for (std::uint32_t j = 0; j < Tile::kKeys; ++j) {
        low[i * Tile::kKeys + j] = fmaf(query.x, key[j].x, low[i * Tile::kKeys + j]);
        high[i * Tile::kKeys + j] = fmaf(query.y, key[j].y, high[i * Tile::kKeys + j]);
      }
    }
  }

  std::uint32_t lane_, query_group_, key_group_;
  float scores_[Tile::kKeys];
};

/// How a tile's outputs are shared out over the threads of a block: kOwn queries × four elements
/// each. A *slice* is as many elements of the values as that makes.
template <std::uint32_t kQueriesOf, std::uint32_t kOwnOf, std::uint32_t kThreadsOf,
          std::uint32_t kChunkFloatsOf>
struct OutputTile {
  static constexpr std::uint32_t kQueries = kQueriesOf;
  static constexpr std::uint32_t kOwn = kOwnOf;
  static constexpr std::uint32_t kThreads = kThreadsOf;
  static constexpr std::uint32_t kColumns = kThreads / (kQueries / kOwn);
  static constexpr std::uint32_t kSlice = 4 * kColumns;
  static constexpr std::uint32_t kWeightStride = kQueries + 4;
  static constexpr std::uint32_t kChunkFloats = kChunkFloatsOf;
  static constexpr std::uint32_t kChunkPositions = kChunkFloats / kSlice;
  static constexpr std::uint32_t kQuads = kChunkFloats / 4 / kThreads;
  static_assert(kOwn % 4 == 0 && kOwn <= kColumns && kChunkPositions * kSlice == kChunkFloats);
};

/// A thread's part in the outputs.
template <KvType kType, typename Tile>
class Weigher {
 public:
  using Reader = ChunkReader<kType, Tile::kThreads, Tile::kQuads>;

  __device__ __forceinline__ std::uint32_t first_query() const {
    return threadIdx.x / Tile::kColumns * Tile::kOwn;
  }
  __device__ __forceinline__ std::uint32_t element() const {
    return threadIdx.x % Tile::kColumns * 4;  // in the slice
  }
  /// The query whose weights this thread adds up, if `sums()`.
  __device__ __forceinline__ bool sums() const { return threadIdx.x % Tile::kColumns < Tile::kOwn; }
  __device__ __forceinline__ std::uint32_t summed_query() const {
    return first_query() + threadIdx.x % Tile::kColumns;
  }
  __device__ __forceinline__ float sum() const { return sum_; }
  __device__ __forceinline__ float output(std::uint32_t query, std::uint32_t i) const {
    return outputs_[query][i];
  }

  static __device__ __forceinline__ void read_first(Reader& reader, const KvVectors<kType>& values,
                                                    std::uint32_t n, std::uint32_t slice) {
    reader.template read<Tile::kSlice>(values, 0, n, slice);
  }

  /// One segment: its sum of weights and its outputs, over the n first positions of a block.
  /// `weights` are `[position, kWeightStride]`; `all_seen`: none is kUnseen. As in Scorer::run, the
  /// reader has the first chunk. The weights need not have been waited for.
  template <typename ReadNext>
  __device__ __forceinline__ void run(const KvVectors<kType>& values, std::uint32_t n,
                                      std::uint32_t slice, bool all_seen, const float* weights,
                                      float* chunk, Reader& reader, ReadNext read_next) {
#pragma unroll
    for (std::uint32_t i = 0; i < Tile::kOwn; ++i) {
      outputs_[i][0] = outputs_[i][1] = outputs_[i][2] = outputs_[i][3] = 0.0f;
    }
    sum_ = 0.0f;
    for (std::uint32_t first = 0; first < n; first += Tile::kChunkPositions) {
      __syncthreads();  // the last chunk is done with
      reader.store_plain(chunk);
      const std::uint32_t next = first + Tile::kChunkPositions;
      if (next < n) {
        reader.template read<Tile::kSlice>(values, next, n, slice);
      } else {
        read_next();
      }
      __syncthreads();
      const std::uint32_t positions = min(Tile::kChunkPositions, n - first);
      const float* const of_chunk = weights + first * Tile::kWeightStride;
      if (sums()) {
        const float* const mine = of_chunk + summed_query();
        for (std::uint32_t i = 0; i < positions; ++i) {
          const float weight = mine[i * Tile::kWeightStride];
          if (!(weight < 0.0f)) sum_ += weight;
        }
      }
      if (all_seen) {
        multiply<false>(of_chunk + first_query(), chunk + element(), positions);
      } else {
        multiply<true>(of_chunk + first_query(), chunk + element(), positions);
      }
    }
  }

 private:
  // A weight of zero would not do for what is unseen: a value may be infinite.
  template <bool kMasked>
  __device__ __forceinline__ void multiply(const float* weights, const float* values,
                                           std::uint32_t n) {
#pragma unroll 4
    for (std::uint32_t position = 0; position < n; ++position) {
      const float4 value = *reinterpret_cast<const float4*>(values + position * Tile::kSlice);
#pragma unroll
      for (std::uint32_t i = 0; i < Tile::kOwn; i += 4) {
        const float4 four =
            *reinterpret_cast<const float4*>(weights + position * Tile::kWeightStride + i);
        add<kMasked>(four.x, value, outputs_[i]);
        add<kMasked>(four.y, value, outputs_[i + 1]);
        add<kMasked>(four.z, value, outputs_[i + 2]);
        add<kMasked>(four.w, value, outputs_[i + 3]);
      }
    }
  }
  template <bool kMasked>
  static __device__ __forceinline__ void add(float weight, const float4& value, float (&to)[4]) {
    if (kMasked && weight < 0.0f) return;
    to[0] = fmaf(weight, value.x, to[0]);
    to[1] = fmaf(weight, value.y, to[1]);
    to[2] = fmaf(weight, value.z, to[2]);
    to[3] = fmaf(weight, value.w, to[3]);
  }

  float outputs_[Tile::kOwn][4];
  float sum_ = 0.0f;
};

}  // namespace sluice::cuda

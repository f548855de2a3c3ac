#include "cuda/attention.h"

#include <algorithm>

#include "base/row_runs.h"
#include "cuda/attention_kernels.cuh"

namespace sluice::cuda {
namespace {

// Fair on any device; also what makes a block of threads fit beside another on large ones.
constexpr std::size_t kSharedLimit = 64 << 10;
// A split's blocks of threads take several segments each where there are more than so many.
constexpr std::uint32_t kManyBlocks = 1024;
constexpr std::uint32_t kMostSegmentsOfShare = 8;
constexpr std::size_t kSplitRows = 8;          // that attention_bytes has in mind,
constexpr std::size_t kSplitBytes = 48 << 20;  // unless they need more than this

// Queries of a tile, keys of a thread, threads.
using Scores8 = ScoreTile<8, 4, 128>;
using Scores16 = ScoreTile<16, 4, 256>;
using Scores32 = ScoreTile<32, 8, 256>;
using Scores64 = ScoreTile<64, 8, 256>;
template <typename Scores, std::uint32_t kOwn, std::uint32_t kThreads = Scores::kThreads>
using OutputsOf = OutputTile<Scores::kQueries, kOwn, kThreads, Scores::kPassKeys * kKeyChunk>;
using SplitOutputs8 = OutputsOf<Scores8, 4, 64>;
using SplitOutputs16 = OutputsOf<Scores16, 8>;

std::uint32_t divide_up(std::size_t n, std::size_t by) {
  return static_cast<std::uint32_t>((n + by - 1) / by);
}

bool is_valid(const AttentionShape& shape) {
  const bool whole_blocks = shape.kv_type != KvType::kQ8_0 || (shape.head_dim % kQ8Elements == 0 &&
                                                               shape.value_dim % kQ8Elements == 0);
  return shape.kv_heads > 0 && shape.heads > 0 && shape.heads % shape.kv_heads == 0 &&
         shape.head_dim > 0 && shape.value_dim > 0 && whole_blocks &&
         (!shape.value_in_key || shape.value_dim <= shape.head_dim);
}

std::uint32_t vector_bytes(KvType type, std::size_t elements) {
  const std::size_t bytes = type == KvType::kF32   ? 4 * elements
                            : type == KvType::kF16 ? 2 * elements
                                                   : elements / kQ8Elements * kQ8Bytes;
  return static_cast<std::uint32_t>(bytes);
}

/// The arguments, for tiles of `queries` queries.
AttentionArguments arguments_of(const AttentionTask& task, const AttentionRow* rows,
                                std::uint32_t queries) {
  const AttentionShape& shape = task.shape;
  AttentionArguments arguments = {};
  arguments.rows = rows;
  arguments.q = task.q;
  arguments.q_stride = task.q_stride;
  arguments.out = task.out;
  arguments.out_stride = task.out_stride;
  arguments.sinks = task.sinks;
  arguments.heads = static_cast<std::uint32_t>(shape.heads);
  arguments.kv_heads = static_cast<std::uint32_t>(shape.kv_heads);
  arguments.head_dim = static_cast<std::uint32_t>(shape.head_dim);
  arguments.value_dim = static_cast<std::uint32_t>(shape.value_dim);
  arguments.group = arguments.heads / arguments.kv_heads;
  arguments.parts = divide_up(arguments.group, queries);
  arguments.tile_heads = divide_up(arguments.group, arguments.parts);
  arguments.key_bytes = vector_bytes(shape.kv_type, shape.head_dim);
  arguments.value_bytes = vector_bytes(shape.kv_type, shape.value_dim);
  arguments.value_in_key = shape.value_in_key;
  arguments.scale = shape.scale;
  return arguments;
}

/// One way's launches, in the making.
template <typename Flush>
class RunTable {
 public:
  RunTable(std::uint32_t tile_rows, Flush flush) : tile_rows_(tile_rows), flush_(flush) {}

  cudaError_t add(RowRun run) {
    for (std::size_t row = run.first; row < run.first + run.count; row += tile_rows_) {
      const auto n = static_cast<std::uint32_t>(
          std::min<std::size_t>(tile_rows_, run.first + run.count - row));
      if (runs_.count == RowRuns::kMost) {
        if (const cudaError_t error = flush(); error != cudaSuccess) return error;
      }
      runs_.packed[runs_.count++] = static_cast<std::uint32_t>(row) | n << RowRuns::kCountShift;
    }
    return cudaSuccess;
  }
  cudaError_t flush() {
    if (runs_.count == 0) return cudaSuccess;
    const cudaError_t error = flush_(runs_);
    runs_.count = 0;
    return error;
  }

 private:
  std::uint32_t tile_rows_;
  Flush flush_;
  RowRuns runs_;
};

using WholeLaunch = cudaError_t(const AttentionArguments&, const RowRuns&, cudaStream_t);

template <KvType kType, typename Scores, typename Outputs>
cudaError_t launch_whole(const AttentionArguments& arguments, const RowRuns& runs,
                         cudaStream_t stream) {
  const dim3 grid = {runs.count * arguments.units(),
                     divide_up(arguments.value_dim, Outputs::kSlice), 1};
  return launch(whole_attention_kernel<kType, Scores, Outputs>, grid, dim3{Scores::kThreads, 1, 1},
                whole_shared_bytes<Scores, Outputs>(arguments.head_dim), stream, arguments, runs);
}

struct WholeWay {
  std::uint32_t queries;  // of a tile
  WholeLaunch* launch;
};

/// visit.operator()<type>().
template <typename Visit>
auto with_type(KvType type, const Visit& visit) {
  switch (type) {
    case KvType::kF32:
      return visit.template operator()<KvType::kF32>();
    case KvType::kF16:
      return visit.template operator()<KvType::kF16>();
    case KvType::kQ8_0:
      break;
  }
  return visit.template operator()<KvType::kQ8_0>();
}

/// The largest tiles whose outputs fit the threads' registers and whose queries shared memory.
template <KvType kType>
WholeWay whole_way(std::size_t head_dim, std::size_t value_dim) {
  const auto dim = static_cast<std::uint32_t>(head_dim);
  using Narrow64 = OutputsOf<Scores64, 4>;
  using Wide64 = OutputsOf<Scores64, 8>;
  using Wide32 = OutputsOf<Scores32, 8>;
  if (value_dim <= Narrow64::kSlice &&
      whole_shared_bytes<Scores64, Narrow64>(dim) <= kSharedLimit) {
    return {64, launch_whole<kType, Scores64, Narrow64>};
  }
  if (value_dim <= Wide64::kSlice && whole_shared_bytes<Scores64, Wide64>(dim) <= kSharedLimit) {
    return {64, launch_whole<kType, Scores64, Wide64>};
  }
  if (value_dim <= Wide32::kSlice && whole_shared_bytes<Scores32, Wide32>(dim) <= kSharedLimit) {
    return {32, launch_whole<kType, Scores32, Wide32>};
  }
  return {16, launch_whole<kType, Scores16, OutputsOf<Scores16, 8>>};
}

using SplitLaunch = cudaError_t(const AttentionArguments&, const RowRuns&, const SplitMemory&,
                                std::uint32_t tiles, cudaStream_t);

template <KvType kType, typename Scores, typename Outputs>
cudaError_t launch_split(const AttentionArguments& arguments, const RowRuns& runs,
                         const SplitMemory& memory, std::uint32_t tiles, cudaStream_t stream) {
  cudaError_t error =
      launch(split_scores_kernel<kType, Scores>, dim3{tiles, memory.shares, 1},
             dim3{Scores::kThreads, 1, 1}, split_scores_shared_bytes<Scores>(arguments.head_dim),
             stream, arguments, runs, memory);
  if (error != cudaSuccess) return error;
  const std::uint32_t slices = divide_up(arguments.value_dim, Outputs::kSlice);
  error = launch(split_outputs_kernel<kType, Outputs>, dim3{tiles, memory.shares, slices},
                 dim3{Outputs::kThreads, 1, 1}, split_outputs_shared_bytes<Outputs>(), stream,
                 arguments, runs, memory);
  if (error != cudaSuccess) return error;
  const dim3 grid = {tiles * memory.queries, divide_up(arguments.value_dim, kFinishThreads), 1};
  return launch(split_finish_kernel, grid, dim3{kFinishThreads, 1, 1}, 0, stream, arguments, runs,
                memory);
}

/// Of `longest` queries that share keys and values.
std::uint32_t split_queries(std::size_t longest) { return longest > 16 ? 16 : 8; }

/// Runs of rows as splits, as many tiles at a time as memory holds.
class SplitWaves {
 public:
  SplitWaves(const AttentionTask& task, const AttentionRow* rows, const AttentionCut& cut,
             std::uint32_t queries, cudaStream_t stream)
      : task_(task),
        cut_(cut),
        arguments_(arguments_of(task, rows, queries)),
        tile_rows_(queries / arguments_.tile_heads),
        launch_(with_type(task.shape.kv_type,
                          [&]<KvType kType>() -> SplitLaunch* {
                            return queries == 16 ? launch_split<kType, Scores16, SplitOutputs16>
                                                 : launch_split<kType, Scores8, SplitOutputs8>;
                          })),
        stream_(stream) {}

  /// Whether memory holds a tile of the run.
  bool fits(RowRun run) const { return bytes(1, segments_of(run)) <= task_.memory.size(); }

  /// REQUIRES: fits(run).
  cudaError_t add(RowRun run) {
    for (std::size_t row = run.first; row < run.first + run.count; row += tile_rows_) {
      const std::size_t n = std::min<std::size_t>(tile_rows_, run.first + run.count - row);
      const std::uint32_t segments = segments_of(cut_.recurs ? run : RowRun{row, n});
      for (std::uint32_t unit = 0; unit < arguments_.units();) {
        const std::uint32_t longest = std::max(segments, segments_);
        std::uint32_t more = 0;
        while (unit + more < arguments_.units() && tiles_ + more < kMostTiles &&
               bytes(tiles_ + more + 1, longest) <= task_.memory.size()) {
          ++more;
        }
        if (more == 0 || (unit == 0 && runs_.count == RowRuns::kMost)) {
          if (const cudaError_t error = flush(); error != cudaSuccess) return error;
          continue;
        }
        if (tiles_ == 0) first_unit_ = unit;
        if (tiles_ == 0 || unit == 0) {
          runs_.packed[runs_.count++] = static_cast<std::uint32_t>(row) |
                                        static_cast<std::uint32_t>(n) << RowRuns::kCountShift;
        }
        unit += more;
        tiles_ += more;
        segments_ = longest;
      }
    }
    return cudaSuccess;
  }

  cudaError_t flush() {
    if (tiles_ == 0) return cudaSuccess;
    std::uint32_t of_share = cut_.segments;
    if (of_share == 0) {
      of_share = static_cast<std::uint32_t>(std::clamp<std::size_t>(
          std::size_t{tiles_} * segments_ / kManyBlocks, 1, kMostSegmentsOfShare));
    }
    // A grid has no more than so many shares.
    of_share = std::max(of_share, divide_up(segments_, 65535));
    SplitMemory memory = {};
    memory.queries = tile_queries();
    memory.segments = segments_;
    memory.segments_of_share = of_share;
    memory.shares = divide_up(segments_, of_share);
    memory.first_unit = first_unit_;
    const std::size_t of_each = std::size_t{tiles_} * memory.queries;
    memory.scores = reinterpret_cast<float*>(task_.memory.data());
    memory.partials = memory.scores + of_each * segments_ * kBlockPositions;
    memory.maxima = memory.partials + of_each * segments_ * arguments_.value_dim;
    memory.sums = memory.maxima + of_each * segments_;
    memory.starts = memory.sums + of_each * segments_;
    const cudaError_t error = launch_(arguments_, runs_, memory, tiles_, stream_);
    runs_.count = tiles_ = segments_ = 0;
    return error;
  }

 private:
  static constexpr std::uint32_t kMostTiles = 1 << 16;

  std::uint32_t tile_queries() const { return tile_rows_ * arguments_.tile_heads; }
  /// That a launch has room for.
  std::uint32_t segments_of(RowRun run) const {
    const std::size_t seen =
        blocks_seen(task_.rows[run.first], task_.rows[run.first + run.count - 1]);
    return static_cast<std::uint32_t>(cut_.recurs ? blocks_made_for(seen) : seen);
  }
  std::size_t bytes(std::uint32_t tiles, std::uint32_t segments) const {
    return SplitMemory::floats(tiles, tile_queries(), segments, arguments_.value_dim) *
           sizeof(float);
  }

  const AttentionTask& task_;
  const AttentionCut& cut_;
  AttentionArguments arguments_;
  std::uint32_t tile_rows_;
  SplitLaunch* launch_;
  cudaStream_t stream_;
  RowRuns runs_;
  std::uint32_t first_unit_ = 0, tiles_ = 0, segments_ = 0;
};

}  // namespace

cudaError_t launch_store_kv(const AttentionShape& shape, const AttentionRow* rows,
                            std::uint32_t n_rows, const float* keys, std::size_t key_stride,
                            const float* values, std::size_t value_stride, cudaStream_t stream) {
  if (!is_valid(shape)) return cudaErrorInvalidValue;
  if (n_rows == 0) return cudaSuccess;
  StoreArguments arguments = {};
  arguments.rows = rows;
  arguments.keys = {keys, key_stride, static_cast<std::uint32_t>(shape.head_dim),
                    vector_bytes(shape.kv_type, shape.head_dim)};
  arguments.values = {values, value_stride, static_cast<std::uint32_t>(shape.value_dim),
                      vector_bytes(shape.kv_type, shape.value_dim)};
  arguments.n_rows = n_rows;
  arguments.kv_heads = static_cast<std::uint32_t>(shape.kv_heads);
  arguments.type = shape.kv_type;
  const std::size_t longest =
      shape.value_in_key ? shape.head_dim : std::max(shape.head_dim, shape.value_dim);
  const std::size_t warps = n_rows * shape.kv_heads * divide_up(longest, 32);
  const dim3 grid = {divide_up(warps * 32, kStoreThreads), shape.value_in_key ? 1u : 2u, 1};
  return launch(store_kv_kernel, grid, dim3{kStoreThreads, 1, 1}, 0, stream, arguments);
}

std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions) {
  const std::size_t group = shape.heads / shape.kv_heads;
  const std::uint32_t queries = split_queries(group);
  const auto segments =
      static_cast<std::uint32_t>(blocks_made_for(divide_up(positions, kBlockPositions)));
  const auto bytes = [&](std::size_t of) {
    return SplitMemory::floats(1, static_cast<std::uint32_t>(of), segments,
                               static_cast<std::uint32_t>(shape.value_dim)) *
           sizeof(float);
  };
  return std::max(bytes(queries), std::min(kSplitBytes, bytes(kSplitRows * shape.heads)));
}

cudaError_t launch_attention(const AttentionTask& task, const AttentionRow* rows,
                             cudaStream_t stream, const AttentionCut& cut) {
  constexpr std::size_t kMostRows = std::size_t{1} << RowRuns::kCountShift;
  const AttentionShape& shape = task.shape;
  if (!is_valid(shape) || task.rows.size() > kMostRows) return cudaErrorInvalidValue;
  const std::size_t group = shape.heads / shape.kv_heads;
  const WholeWay way = with_type(shape.kv_type, [&]<KvType kType>() {
    return whole_way<kType>(shape.head_dim, shape.value_dim);
  });
  const AttentionArguments whole_arguments = arguments_of(task, rows, way.queries);
  const std::uint32_t tile_rows = way.queries / whole_arguments.tile_heads;

  // Long runs go whole where together they keep a GPU busy.
  const auto is_long = [&](RowRun run) { return run.count * group > way.queries / 2; };
  std::size_t whole_blocks = 0, longest_split = 0;
  for (std::size_t row = 0; row < task.rows.size();) {
    const RowRun run = row_run(task.rows, row);
    if (is_long(run))
      whole_blocks += std::size_t{divide_up(run.count, tile_rows)} * whole_arguments.units();
    row += run.count;
  }
  const bool long_whole = whole_blocks >= cut.whole_from;
  for (std::size_t row = 0; row < task.rows.size();) {
    const RowRun run = row_run(task.rows, row);
    if (!(long_whole && is_long(run))) longest_split = std::max(longest_split, run.count * group);
    row += run.count;
  }

  RunTable whole(tile_rows,
                 [&](const RowRuns& runs) { return way.launch(whole_arguments, runs, stream); });
  SplitWaves split(task, rows, cut, split_queries(longest_split), stream);
  for (std::size_t row = 0; row < task.rows.size();) {
    const RowRun run = row_run(task.rows, row);
    const bool goes_whole = (long_whole && is_long(run)) || !split.fits(run);
    const cudaError_t error = goes_whole ? whole.add(run) : split.add(run);
    if (error != cudaSuccess) return error;
    row += run.count;
  }
  const cudaError_t error = whole.flush();
  return error != cudaSuccess ? error : split.flush();
}

}  // namespace sluice::cuda

// Three kernels, one after the other: the convolution and the norms of queries and keys, a block a
// head; the recurrence, whose chains of a state's columns are what takes the time: a thread a
// column, which it keeps for all rows; and the outputs' norms and gates.

#include "cuda/delta_net.h"

#include <algorithm>

#include "base/canonical.h"
#include "cuda/canonical_math.cuh"
#include "cuda/canonical_sums.cuh"

namespace sluice::cuda {
namespace {

constexpr std::size_t kSharedBytes = 48 << 10;  // that every device grants a block
constexpr std::uint32_t kMostKeyDim = 1024;
constexpr std::uint32_t kMostKernel = 2048;

constexpr std::size_t divide_up(std::size_t n, std::size_t by) { return (n + by - 1) / by; }

// --- The convolution ---

constexpr std::size_t kMostConvolveThreads = 512;
constexpr std::uint32_t kConvolveRows = 32;  // that are looked at together

/// Positions that are kept in shared memory, in a ring.
__device__ __host__ constexpr std::uint32_t ring_positions(std::uint32_t kernel) {
  return kernel - 1 + kConvolveRows;
}

/// Some of a head's channels.
struct Channels {
  float* x;              // [rows, n], `stride` floats apart
  float* history;        // [kernel - 1, n], likewise
  const float* weights;  // [n, kernel]
  std::uint32_t stride, n;
};

/// Positions are counted from the history's first. A tile of rows is read as a whole before its
/// first row is overwritten.
__device__ __forceinline__ void convolve(const Channels& of, std::uint32_t kernel,
                                         std::uint32_t rows) {
  const std::uint32_t n = of.n, positions = ring_positions(kernel), before = kernel - 1;
  auto* const weights = reinterpret_cast<float*>(dynamic_shared());  // [kernel, n]
  float* const ring = weights + kernel * n;                          // [positions, n]
  for (std::uint32_t i = threadIdx.x; i < kernel * n; i += blockDim.x) {
    weights[i % kernel * n + i / kernel] = __ldg(of.weights + i);
  }
  const std::uint32_t c = threadIdx.x % n, team = threadIdx.x / n, teams = blockDim.x / n;
  const bool works = team < teams;
  for (std::uint32_t i = team; works && i < before; i += teams) {
    ring[i * n + c] = of.history[std::size_t{i} * of.stride + c];
  }
  for (std::uint32_t tile = 0; tile < rows; tile += kConvolveRows) {
    const std::uint32_t end = min(tile + kConvolveRows, rows);
#pragma unroll 4
    for (std::uint32_t row = tile + team; works && row < end; row += teams) {
      ring[(before + row) % positions * n + c] = of.x[std::size_t{row} * of.stride + c];
    }
    __syncthreads();
    for (std::uint32_t row = tile + team; works && row < end; row += teams) {
      std::uint32_t place = row % positions;
      float sum = 0.0f;
      for (std::uint32_t tap = 0; tap < kernel; ++tap) {
        sum = fmaf(weights[tap * n + c], ring[place * n + c], sum);
        if (++place == positions) place = 0;
      }
      of.x[std::size_t{row} * of.stride + c] = canonical_silu(sum);
    }
    __syncthreads();
  }
  for (std::uint32_t i = team; works && i < before; i += teams) {
    of.history[std::size_t{i} * of.stride + c] = ring[(rows + i) % positions * n + c];
  }
  __syncthreads();
}

/// A block is a head of a run: of queries, of keys, then of values. `room` is for how many channels
/// shared memory has room.
__global__ void convolve_kernel(DeltaNetTask task, const DeltaNetRun* runs, std::uint32_t room) {
  const DeltaNetShape& shape = task.shape;
  const DeltaNetRun run = runs[blockIdx.y];
  const std::uint32_t head = blockIdx.x, keys = shape.key_heads, key_dim = shape.key_dim;
  const bool is_value = head >= 2 * keys;
  const std::uint32_t width = is_value ? shape.value_dim : key_dim;
  const std::uint32_t first =
      is_value ? 2 * keys * key_dim + (head - 2 * keys) * width : head * width;
  const std::uint32_t stride = 2 * keys * key_dim + shape.value_heads * shape.value_dim;
  float* const x = task.qkv + std::size_t{run.first} * stride + first;
  for (std::uint32_t begin = 0; begin < width; begin += room) {
    convolve({x + begin, run.history + first + begin,
              task.conv_weight + std::size_t{first + begin} * shape.kernel, stride,
              min(room, width - begin)},
             shape.kernel, run.rows);
  }
  if (is_value) return;
  const float scale = head < keys ? 1.0f / sqrtf(static_cast<float>(width)) : 1.0f;
  for (std::uint32_t begin = 0; begin < run.rows; begin += blockDim.x / kSumLanes) {
    const std::uint32_t row = begin + threadIdx.x / kSumLanes;
    const bool there = row < run.rows;
    float* const of_row = x + std::size_t{row} * stride;
    const float square = half_warp_sum(
        width, there, [&](std::uint32_t i, float sum) { return fmaf(of_row[i], of_row[i], sum); });
    const float inverse = 1.0f / sqrtf(square + kDeltaNetEpsilon);
    for (std::uint32_t i = threadIdx.x % kSumLanes; there && i < width; i += kSumLanes) {
      of_row[i] = of_row[i] * inverse * scale;
    }
  }
}

// --- The recurrence ---

constexpr std::uint32_t kWarp = 32;  // a block's threads: columns of a state
constexpr int kStages = 4;  // rows that are on their way to shared memory, and the present one

/// Floats in shared memory, 16-byte aligned: first to first + 3.
__device__ __forceinline__ float4 four(const float* floats, std::uint32_t first) {
  return *reinterpret_cast<const float4*>(floats + first);
}

/// What a row brings with it, in shared memory.
struct Stages {
  /// A vector's floats, filled up to 16 bytes.
  static __device__ __host__ constexpr std::uint32_t whole(std::uint32_t key_dim) {
    return (key_dim + 3) / 4 * 4;
  }
  static __device__ __host__ constexpr std::uint32_t floats(std::uint32_t key_dim) {
    return 2 * whole(key_dim) + kWarp;
  }

  __device__ __forceinline__ float* query(std::uint32_t row) const {
    return memory + row % kStages * floats(key_dim);
  }
  __device__ __forceinline__ float* key(std::uint32_t row) const {
    return query(row) + whole(key_dim);
  }
  __device__ __forceinline__ float* values(std::uint32_t row) const {
    return key(row) + whole(key_dim);
  }

  float* memory;
  std::uint32_t key_dim;
};

/// A state's column in registers. Threads without one, whose rows are 0, have zeros.
template <std::uint32_t kKeyDim>
struct RegisterColumn {
  static_assert(kKeyDim % 4 == 0);
  __device__ __forceinline__ RegisterColumn(float*, std::uint32_t, std::uint32_t rows)
      : there(rows != 0) {}
  __device__ __forceinline__ void load(const float* from, std::uint32_t stride) {
#pragma unroll
    for (std::uint32_t i = 0; i < kKeyDim; i += 4) {
      if (!there) break;
      state[i / 4] = {from[i * stride], from[(i + 1) * stride], from[(i + 2) * stride],
                      from[(i + 3) * stride]};
    }
  }
  /// body(i, states of rows i to i + 3, how many of these there are), in order.
  template <typename Body>
  __device__ __forceinline__ void each(const Body& body) {
#pragma unroll
    for (std::uint32_t i = 0; i < kKeyDim; i += 4) body(i, state[i / 4], 4u);
  }
  __device__ __forceinline__ void store(float* to, std::uint32_t stride) const {
#pragma unroll
    for (std::uint32_t i = 0; i < kKeyDim; i += 4) {
      if (!there) break;
      to[i * stride] = state[i / 4].x;
      to[(i + 1) * stride] = state[i / 4].y;
      to[(i + 2) * stride] = state[i / 4].z;
      to[(i + 3) * stride] = state[i / 4].w;
    }
  }

  float4 state[kKeyDim / 4] = {};
  bool there;
};

/// In shared memory, where a block may have fewer columns than threads.
struct SharedColumn {
  __device__ __forceinline__ SharedColumn(float* memory, std::uint32_t of_block,
                                          std::uint32_t of_column)
      : state(memory + threadIdx.x), columns(of_block), rows(of_column) {}
  __device__ __forceinline__ void load(const float* from, std::uint32_t stride) {
#pragma unroll 8
    for (std::uint32_t i = 0; i < rows; ++i) state[i * columns] = from[i * stride];
  }
  template <typename Body>
  __device__ __forceinline__ void each(const Body& body) {
    for (std::uint32_t i = 0; i < rows; i += 4) {
      float* const at = state + i * columns;
      const std::uint32_t count = min(rows - i, 4u);
      float4 some = {at[0], 0.0f, 0.0f, 0.0f};
      if (count > 1) some.y = at[columns];
      if (count > 2) some.z = at[2 * columns];
      if (count > 3) some.w = at[3 * columns];
      body(i, some, count);
      at[0] = some.x;
      if (count > 1) at[columns] = some.y;
      if (count > 2) at[2 * columns] = some.z;
      if (count > 3) at[3 * columns] = some.w;
    }
  }
  __device__ __forceinline__ void store(float* to, std::uint32_t stride) const {
#pragma unroll 8
    for (std::uint32_t i = 0; i < rows; ++i) to[i * stride] = state[i * columns];
  }

  float* state;  // [key_dim, columns]
  std::uint32_t columns, rows;
};

/// Where a thread's column of a run lies.
struct ColumnPlace {
  __device__ __forceinline__ ColumnPlace(const DeltaNetTask& task, const DeltaNetRun& of_run,
                                         std::uint32_t columns)
      : run(of_run) {
    const DeltaNetShape& shape = task.shape;
    const std::uint32_t across = (shape.value_dim + columns - 1) / columns;
    head = blockIdx.x / across;
    column = blockIdx.x % across * columns + threadIdx.x;
    there = threadIdx.x < columns && column < shape.value_dim;
    key_head = shape.value_heads_tiled ? head % shape.key_heads
                                       : head / (shape.value_heads / shape.key_heads);
    stride = 2 * shape.key_heads * shape.key_dim + shape.value_heads * shape.value_dim;
  }
  DeltaNetRun run;
  std::uint32_t head, key_head, column, stride;
  bool there;  // else the thread only helps
};

/// Starts the copy of a float, which is all that the sizes of rows allow.
__device__ __forceinline__ void stage(float* to, const float* from) {
  copy_async_4(reinterpret_cast<unsigned char*>(to), reinterpret_cast<const unsigned char*>(from));
}

/// Starts the copies of a row's query, key and values, where there is such a row.
__device__ __forceinline__ void stage_row(const DeltaNetTask& task, const ColumnPlace& place,
                                          const Stages& stages, std::uint32_t row) {
  if (row < place.run.rows) {
    const std::uint32_t key_dim = stages.key_dim, keys = task.shape.key_heads;
    const float* const from = task.qkv + std::size_t{place.run.first + row} * place.stride;
    const float* const query = from + place.key_head * key_dim;
    const float* const key = query + keys * key_dim;
    for (std::uint32_t i = threadIdx.x; i < key_dim; i += kWarp) {
      stage(stages.query(row) + i, query + i);
      stage(stages.key(row) + i, key + i);
    }
    if (place.there) {
      stage(stages.values(row) + threadIdx.x,
            from + 2 * keys * key_dim + place.head * task.shape.value_dim + place.column);
    }
  }
  commit_copies();
}

/// Each pass over a column changes it for one row and asks it what it knows of the next row's key:
/// two chains that need not wait for each other.
template <typename Column>
__global__ void __launch_bounds__(kWarp)
    recur_kernel(DeltaNetTask task, const DeltaNetRun* runs, std::uint32_t columns) {
  const DeltaNetShape& shape = task.shape;
  const ColumnPlace place(task, runs[blockIdx.y], columns);
  const std::uint32_t rows = place.run.rows, heads = shape.value_heads;
  const Stages stages{reinterpret_cast<float*>(dynamic_shared()), shape.key_dim};
  Column column(stages.memory + kStages * Stages::floats(shape.key_dim), columns,
                place.there ? shape.key_dim : 0);
  float* const matrix =
      place.run.matrices + std::size_t{place.head} * shape.key_dim * shape.value_dim + place.column;
  for (std::uint32_t row = 0; row + 1 < kStages; ++row) stage_row(task, place, stages, row);
  column.load(matrix, shape.value_dim);
  wait_for_copies<kStages - 2>();
  __syncwarp();
  float seen = 0.0f;
  column.each([&](std::uint32_t i, const float4& state, std::uint32_t count) {
    const float4 key = four(stages.key(0), i);
    seen = fmaf(key.x, state.x, seen);
    if (count > 1) seen = fmaf(key.y, state.y, seen);
    if (count > 2) seen = fmaf(key.z, state.z, seen);
    if (count > 3) seen = fmaf(key.w, state.w, seen);
  });
  float decays = 0.0f, betas = 0.0f;  // of row, row + 1, …, one a lane
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (row % kWarp == 0 && row + threadIdx.x < rows) {
      const std::size_t at = std::size_t{place.run.first + row + threadIdx.x} * heads + place.head;
      const float softened = canonical_softplus(task.alpha[at] + task.dt_bias[place.head]);
      decays = canonical_exp(task.a[place.head] * softened);
      betas = canonical_sigmoid(task.beta[at]);
    }
    __syncwarp();  // nobody reads the last row any more
    stage_row(task, place, stages, row + kStages - 1);
    wait_for_copies<kStages - 2>();  // the next row is there
    __syncwarp();
    const float decay = __shfl_sync(0xffffffffu, decays, row % kWarp);
    const float beta = __shfl_sync(0xffffffffu, betas, row % kWarp);
    const float delta = beta * (stages.values(row)[threadIdx.x] - decay * seen);
    const float* const query = stages.query(row);
    const float* const key = stages.key(row);
    const float* const next = stages.key(row + 1 < rows ? row + 1 : row);
    float out = 0.0f;
    seen = 0.0f;
    const auto change = [&](float& state, float k, float q, float n) {
      state = fmaf(k, delta, decay * state);
      out = fmaf(q, state, out);
      seen = fmaf(n, state, seen);
    };
    column.each([&](std::uint32_t i, float4& state, std::uint32_t count) {
      const float4 k = four(key, i), q = four(query, i), n = four(next, i);
      change(state.x, k.x, q.x, n.x);
      if (count > 1) change(state.y, k.y, q.y, n.y);
      if (count > 2) change(state.z, k.z, q.z, n.z);
      if (count > 3) change(state.w, k.w, q.w, n.w);
    });
    if (place.there) {
      task.out[(std::size_t{place.run.first + row} * heads + place.head) * shape.value_dim +
               place.column] = out;
    }
  }
  // Else the places of all the elements would be kept since they were loaded.
  column.store(matrix, opaque(shape.value_dim));
}

// --- The outputs ---

constexpr std::uint32_t kFinishThreads = 256;

/// Half a warp is a head of a row.
__global__ void finish_kernel(DeltaNetTask task, std::size_t vectors) {
  const std::uint32_t n = task.shape.value_dim;
  const std::size_t index = (std::size_t{blockIdx.x} * kFinishThreads + threadIdx.x) / kSumLanes;
  const bool there = index < vectors;
  float* const out = task.out + index * n;
  const float* const gate = task.gate + index * n;
  const float square = half_warp_sum(
      n, there, [&](std::uint32_t i, float sum) { return fmaf(out[i], out[i], sum); });
  const float inverse = 1.0f / sqrtf(square / static_cast<float>(n) + task.norm_epsilon);
  if (!there) return;
#pragma unroll 8
  for (std::uint32_t i = threadIdx.x % kSumLanes; i < n; i += kSumLanes) {
    out[i] = out[i] * inverse * __ldg(task.norm_weight + i) * canonical_silu(__ldg(gate + i));
  }
}

using RecurKernel = void (*)(DeltaNetTask, const DeltaNetRun*, std::uint32_t);

/// What recur_kernel of a shape is launched with.
struct Recurrence {
  RecurKernel kernel = recur_kernel<SharedColumn>;
  std::uint32_t columns = kWarp;  // of a block
  std::size_t shared_bytes = 0;
};

Recurrence recurrence_for(std::uint32_t key_dim) {
  Recurrence recurrence;
  recurrence.shared_bytes = kStages * Stages::floats(key_dim) * sizeof(float);
  if (key_dim == 64 || key_dim == 128) {  // as models have it
    recurrence.kernel =
        key_dim == 64 ? recur_kernel<RegisterColumn<64>> : recur_kernel<RegisterColumn<128>>;
    return recurrence;
  }
  const std::size_t column_bytes = key_dim * sizeof(float);
  recurrence.columns = static_cast<std::uint32_t>(
      std::min<std::size_t>(kWarp, (kSharedBytes - recurrence.shared_bytes) / column_bytes));
  recurrence.shared_bytes += recurrence.columns * column_bytes;
  return recurrence;
}
static_assert(kStages * Stages::floats(kMostKeyDim) * sizeof(float) + kMostKeyDim * sizeof(float) <=
              kSharedBytes);

/// All but the end.
cudaError_t launch_runs(const DeltaNetTask& task, std::span<const DeltaNetRun> runs,
                        const DeltaNetRun* there, cudaStream_t stream) {
  const DeltaNetShape& shape = task.shape;
  const std::size_t channel_bytes = (shape.kernel + ring_positions(shape.kernel)) * sizeof(float);
  const auto room = std::min<std::size_t>({kMostConvolveThreads, kSharedBytes / channel_bytes,
                                           std::max(shape.key_dim, shape.value_dim)});
  const auto count = static_cast<std::uint32_t>(runs.size());
  std::size_t longest = 0;
  for (const DeltaNetRun& run : runs) longest = std::max<std::size_t>(longest, run.rows);
  const auto threads = static_cast<std::uint32_t>(
      std::min(divide_up(room * longest, kWarp) * kWarp, kMostConvolveThreads));
  if (const cudaError_t error =
          launch(convolve_kernel, dim3{2 * shape.key_heads + shape.value_heads, count, 1},
                 dim3{threads, 1, 1}, room * channel_bytes, stream, task, there,
                 static_cast<std::uint32_t>(room));
      error != cudaSuccess) {
    return error;
  }
  const Recurrence recurrence = recurrence_for(shape.key_dim);
  const auto across = static_cast<std::uint32_t>(divide_up(shape.value_dim, recurrence.columns));
  return launch(recurrence.kernel, dim3{shape.value_heads * across, count, 1}, dim3{kWarp, 1, 1},
                recurrence.shared_bytes, stream, task, there, recurrence.columns);
}

}  // namespace

bool has_delta_net(const DeltaNetShape& shape) {
  return shape.key_dim >= 1 && shape.key_dim <= kMostKeyDim && shape.value_dim >= 1 &&
         shape.kernel >= 1 && shape.kernel <= kMostKernel && shape.key_heads >= 1 &&
         shape.value_heads >= 1 &&
         (shape.value_heads_tiled || shape.value_heads % shape.key_heads == 0);
}

void delta_net_runs(const DeltaNetTask& task, std::vector<DeltaNetRun>& runs) {
  runs.clear();
  for (std::size_t row = 0; row < task.rows; ++row) {
    float* const state = task.states[row];
    if (row > 0 && state == task.states[row - 1]) {
      ++runs.back().rows;
    } else {
      runs.push_back(
          {state, state + task.shape.matrices_offset(), static_cast<std::uint32_t>(row), 1});
    }
  }
}

cudaError_t launch_delta_net(const DeltaNetTask& task, std::span<const DeltaNetRun> runs,
                             const DeltaNetRun* there, cudaStream_t stream) {
  if (runs.empty()) return cudaSuccess;
  if (!has_delta_net(task.shape)) return cudaErrorInvalidValue;
  if (const cudaError_t error = launch_runs(task, runs, there, stream); error != cudaSuccess) {
    return error;
  }
  const std::size_t first = runs.front().first,
                    end = std::size_t{runs.back().first} + runs.back().rows;
  const std::size_t heads = task.shape.value_heads, vectors = (end - first) * heads;
  DeltaNetTask part = task;
  part.out += first * heads * task.shape.value_dim;
  part.gate += first * heads * task.shape.value_dim;
  return launch(finish_kernel,
                dim3{static_cast<unsigned>(divide_up(vectors, kFinishThreads / kSumLanes)), 1, 1},
                dim3{kFinishThreads, 1, 1}, 0, stream, part, vectors);
}

}  // namespace sluice::cuda

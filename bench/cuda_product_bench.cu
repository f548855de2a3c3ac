// Products on a CUDA device. Decode's (GEMV): achieved bytes/s over the ceilings measured in the
// same run, for large matrices and for the experts of one layer, at each way of cutting a launch.
// Prefill's (GEMM): operations/s over what the tensor cores do in the canonical order, and what
// that costs them.
//
// usage: cuda_product_bench [all]      all: every tile, not the chosen one alone

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "cuda/gemm.h"
#include "cuda/gemv.h"
#include "cuda/row_ops.h"

namespace {

using namespace sluice;
using namespace sluice::cuda;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__global__ void fill_kernel(std::uint32_t* words, std::size_t count, std::uint32_t seed) {
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    std::uint32_t x = static_cast<std::uint32_t>(i) * 2654435761u + seed;
    x ^= x >> 16;
    x *= 2246822519u;
    x ^= x >> 13;
    // Halves and floats made of these bytes are finite: each byte's second bit is clear.
    words[i] = x & 0xbfbfbfbfu;
  }
}

__global__ void read_kernel(const uint4* data, std::size_t count, std::uint32_t* out) {
  std::uint32_t sum = 0;
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = data[i], b = data[i + step], c = data[i + 2 * step], d = data[i + 3 * step];
    sum += a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w;
    sum += c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  for (; i < count; i += step) sum += data[i].x;
  if (sum == 0x12345678u) *out = sum;  // else the loads are dropped
}

template <typename T>
T* device_array(std::size_t count, std::uint32_t seed = 1) {
  void* memory = nullptr;
  const std::size_t words = (count * sizeof(T) + 3) / 4;
  check(cudaMalloc(&memory, words * 4), "cudaMalloc");
  fill_kernel<<<1024, 256>>>(static_cast<std::uint32_t*>(memory), words, seed);
  check(cudaDeviceSynchronize(), "fill");
  return static_cast<T*>(memory);
}

/// Median seconds of one replay of what `record` puts on the stream, captured as a graph.
double seconds(const std::function<void(cudaStream_t)>& record, int replays = 15) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaEvent_t begin, end;
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  record(stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "instantiate");
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<double> times;
  for (int i = 0; i < replays + 3; ++i) {
    check(cudaEventRecord(begin, stream), "record");
    check(cudaGraphLaunch(executable, stream), "launch");
    check(cudaEventRecord(end, stream), "record");
    check(cudaStreamSynchronize(stream), "run");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "time");
    if (i >= 3) times.push_back(1e-3 * milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

struct Format {
  TensorType type;
  const char* name;
  std::size_t block_elements, block_bytes;
  std::size_t bytes(std::size_t elements) const { return elements / block_elements * block_bytes; }
};

constexpr Format kFormats[] = {
    {TensorType::kQ4_0, "Q4_0", 32, 18},   {TensorType::kQ8_0, "Q8_0", 32, 34},
    {TensorType::kQ4_K, "Q4_K", 256, 144}, {TensorType::kQ6_K, "Q6_K", 256, 210},
    {TensorType::kMXFP4, "MXFP4", 32, 17},
};

constexpr std::size_t kPoolBytes = std::size_t{2} << 30;  // far beyond any L2

using Tile = std::optional<GemvTile>;  // none: the one that launch_gemv chooses

const GemvTile* pointer_to(const Tile& tile) { return tile ? &*tile : nullptr; }

std::vector<Tile> tiles(bool all) {
  std::vector<Tile> list = {std::nullopt};
  if (!all) return list;
  for (const std::uint32_t rows : {1u, 2u, 4u, 8u}) {
    for (const std::uint32_t segments : {1u, 2u, 4u}) {
      for (const std::uint32_t stages : {2u, 3u}) {
        list.push_back(GemvTile{rows, segments, stages});
      }
    }
  }
  return list;
}

struct Inputs {
  QuantisedRows rows;
  float* output;
  QuantisedRows hidden;
};

Inputs make_inputs() {
  const auto rows = [] {
    return QuantisedRows{device_array<std::int8_t>(4 * 16384), device_array<float>(4 * 512),
                         device_array<std::int16_t>(4 * 1024)};
  };
  return {rows(), device_array<float>(std::size_t{1} << 22), rows()};
}

ProductTask* upload(const std::vector<ProductTask>& tasks) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, tasks.size() * sizeof(ProductTask)), "cudaMalloc");
  check(cudaMemcpy(memory, tasks.data(), tasks.size() * sizeof(ProductTask), cudaMemcpyHostToDevice),
        "upload");
  return static_cast<ProductTask*>(memory);
}

void report(const char* what, const Format& format, const Tile& tile, double bytes, double time,
            std::size_t launches, double ceiling) {
  char cut[48] = "chosen";
  if (tile) {
    std::snprintf(cut, sizeof cut, "%u rows %u segments %u stages", tile->rows_per_warp,
                  tile->segments, tile->stages);
  }
  std::printf("%-22s %-6s %-28s  %8.2f us/launch %8.1f GB/s  %5.1f %%\n", what, format.name, cut,
              1e6 * time / launches, 1e-9 * bytes / time, 100 * bytes / time / ceiling);
}

// Matrices of 4096 x 2048, `at_once` a launch, through the whole pool.
void bench_matrices(const Format& format, const std::byte* pool, const Inputs& in,
                    std::uint32_t at_once, std::uint32_t n_rows, bool all, double ceiling) {
  constexpr std::uint32_t kRows = 4096, kColumns = 2048;
  const std::size_t bytes = kRows * format.bytes(kColumns);
  const std::size_t launches = std::min<std::size_t>(kPoolBytes / (bytes * at_once), 128);
  std::vector<ProductTask> tasks(launches * at_once);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    tasks[i].weight.data = pool + i * bytes;
    tasks[i].input = in.rows;
    tasks[i].output = in.output + i % 64 * kRows * 4;
    tasks[i].rows = kRows;
    tasks[i].n_rows = n_rows;
    tasks[i].output_stride = kRows;
  }
  ProductTask* const device_tasks = upload(tasks);
  const ProductLaunch launch{format.type, kColumns, kRows, at_once, n_rows, false};
  char name[64];
  std::snprintf(name, sizeof name, "%u x 4096x2048, %u row%s", at_once, n_rows,
                n_rows > 1 ? "s" : "");
  for (const Tile& tile : tiles(all)) {
    if (tile && n_rows * tile->rows_per_warp * tile->segments > 32) continue;
    const double time = seconds([&](cudaStream_t stream) {
      for (std::size_t i = 0; i < launches; ++i) {
        check(launch_gemv(launch, device_tasks + i * at_once, stream, pointer_to(tile)), "gemv");
      }
    });
    report(name, format, tile, static_cast<double>(launches * at_once * bytes), time, launches,
           ceiling);
  }
  cudaFree(device_tasks);
}

// Eight experts of 2048 -> 768 -> 2048: two launches a layer, other experts at each.
void bench_experts(const Format& format, const std::byte* pool, const Inputs& in, bool all,
                   double ceiling) {
  constexpr std::uint32_t kExperts = 8, kHidden = 2048, kFfn = 768;
  // A super-block does not divide 768 by less than 256, but 768 = 3 * 256.
  const std::size_t up_bytes = kFfn * format.bytes(kHidden);
  const std::size_t down_bytes = (kHidden * format.bytes(kFfn) + 255) / 256 * 256;
  const std::size_t expert_bytes = 2 * up_bytes + down_bytes;
  const std::size_t layers = std::min<std::size_t>(kPoolBytes / (expert_bytes * kExperts), 48);
  std::vector<ProductTask> up_tasks, down_tasks;
  for (std::size_t i = 0; i < layers * kExperts; ++i) {
    ProductTask up;
    up.weight.data = pool + i * expert_bytes;
    up.up.data = up.weight.data + up_bytes;
    up.input = in.rows;
    up.hidden = {in.hidden.codes + i % kExperts * kFfn, in.hidden.scales + i % kExperts * kFfn / 32,
                 in.hidden.sums + i % kExperts * kFfn / 16};
    up.rows = kFfn;
    up.n_rows = 1;
    up_tasks.push_back(up);
    ProductTask down;
    down.weight.data = up.up.data + up_bytes;
    down.input = up.hidden;
    down.output = in.output + i % kExperts * kHidden;
    down.rows = kHidden;
    down.n_rows = 1;
    down.output_stride = kHidden;
    down_tasks.push_back(down);
  }
  ProductTask* const device_up = upload(up_tasks);
  ProductTask* const device_down = upload(down_tasks);
  const ProductLaunch up_launch{format.type, kHidden, kFfn, kExperts, 1, true};
  const ProductLaunch down_launch{format.type, kFfn, kHidden, kExperts, 1, false};
  const auto layer_bytes = static_cast<double>(kExperts * expert_bytes);
  const auto run = [&](const char* name, const Tile* up_tile, const Tile* down_tile, double bytes) {
    const double time = seconds([&](cudaStream_t stream) {
      for (std::size_t i = 0; i < layers; ++i) {
        if (up_tile != nullptr) {
          check(launch_gemv(up_launch, device_up + i * kExperts, stream, pointer_to(*up_tile)), "up");
        }
        if (down_tile != nullptr) {
          check(launch_gemv(down_launch, device_down + i * kExperts, stream, pointer_to(*down_tile)),
                "down");
        }
      }
    });
    report(name, format, up_tile != nullptr ? *up_tile : *down_tile, bytes * layers, time, layers,
           ceiling);
  };
  for (const Tile& tile : tiles(all)) {
    run("8 experts, gate+up", &tile, nullptr, 2.0 * kExperts * up_bytes);
  }
  for (const Tile& tile : tiles(all)) {
    run("8 experts, down", nullptr, &tile, 1.0 * kExperts * down_bytes);
  }
  const Tile up_chosen, down_chosen;
  run("8 experts, both", &up_chosen, &down_chosen, layer_bytes);
  cudaFree(device_up);
  cudaFree(device_down);
}

__global__ void empty_kernel() {}

// Tensor cores: m16n8k32 over 8-bit integers, whose k is one group. kWhole adds integers over all
// of a row; kChain is rule 2: each group's integers become floats and one fma each. Operands stay
// in registers, so this is the arithmetic alone.
enum class Sums { kWhole, kChain };
constexpr int kMmaTiles = 8;  // of a warp, side by side: 16 x 64 outputs
constexpr int kMmaGroups = 4096;

template <Sums kSums>
__global__ void mma_kernel(const std::uint32_t* operands, const float* scales, float* out) {
  const unsigned lane = threadIdx.x % 32;
  std::uint32_t a[4], b[kMmaTiles][2];
  float activation_scales[kMmaTiles][2];
  for (int i = 0; i < 4; ++i) a[i] = operands[lane * 4 + i];
  for (int t = 0; t < kMmaTiles; ++t) {
    for (int i = 0; i < 2; ++i) {
      b[t][i] = operands[128 + lane * 16 + t * 2 + i];
      activation_scales[t][i] = scales[t * 8 + lane % 4 * 2 + i];
    }
  }
  int whole[kMmaTiles][4] = {};
  float sums[kMmaTiles][4] = {}, totals[kMmaTiles][4] = {};
  for (int group = 0; group < kMmaGroups; ++group) {
    const float weight_scales[2] = {scales[group % 64 + lane / 4],
                                    scales[group % 64 + lane / 4 + 8]};
    a[0] ^= static_cast<std::uint32_t>(group);
#pragma unroll
    for (int t = 0; t < kMmaTiles; ++t) {
      // As the kernels do: c is the bits of a float that is 1.5 * 2^23 too large.
      int c[4];
      for (int i = 0; i < 4; ++i) c[i] = kSums == Sums::kWhole ? whole[t][i] : 0x4b400000;
      asm volatile(
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
          "{%0,%1,%2,%3};"
          : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[t][0]), "r"(b[t][1]));
      for (int i = 0; i < 4; ++i) {
        if (kSums == Sums::kWhole) {
          whole[t][i] = c[i];
        } else {
          sums[t][i] = fmaf(weight_scales[i / 2] * activation_scales[t][i % 2],
                            __int_as_float(c[i]) - 12582912.0f, sums[t][i]);
          if (group % 16 == 15) {
            totals[t][i] += sums[t][i];
            sums[t][i] = 0.0f;
          }
        }
      }
    }
  }
  float sum = 0;
  for (int t = 0; t < kMmaTiles; ++t) {
    for (int i = 0; i < 4; ++i) sum += totals[t][i] + static_cast<float>(whole[t][i]);
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/// The most that was seen of the canonical chain.
double bench_mma(int multiprocessors, const Inputs& in) {
  const auto* const operands = reinterpret_cast<const std::uint32_t*>(in.rows.codes);
  const auto rate = [&](auto kernel, int warps) {
    const double time = seconds(
        [&](cudaStream_t stream) {
          kernel<<<multiprocessors, 32 * warps, 0, stream>>>(operands, in.rows.scales, in.output);
        },
        5);
    return 2.0 * 16 * 8 * 32 * kMmaTiles * kMmaGroups * warps * multiprocessors / time;
  };
  double most = 0;
  for (const int warps : {4, 8, 12, 16}) {
    const double chain = rate(mma_kernel<Sums::kChain>, warps);
    std::printf("mma m16n8k32, %2d warps: integers alone %7.1f T/s, canonical chain %7.1f T/s\n",
                warps, 1e-12 * rate(mma_kernel<Sums::kWhole>, warps), 1e-12 * chain);
    most = std::max(most, chain);
  }
  return most;
}

/// `n_tasks` matrices [rows, columns], each × `n_rows` rows in tiles.
void bench_gemm(const Format& format, const std::byte* pool, std::uint32_t n_tasks,
                std::uint32_t rows, std::uint32_t columns, std::uint32_t n_rows, bool in_float,
                double ceiling) {
  const std::size_t bytes = (rows * format.bytes(columns) + 255) / 256 * 256;
  const std::size_t x_rows = std::size_t{n_tasks} * n_rows;
  const QuantisedRows x = {device_array<std::int8_t>(x_rows * columns),
                           device_array<float>(x_rows * columns / 32),
                           device_array<std::int16_t>(x_rows * columns / 16)};
  auto* const values = device_array<float>(x_rows * columns);
  auto* const output = device_array<float>(x_rows * rows);
  std::vector<ProductTask> tasks;
  for (std::uint32_t i = 0; i < n_tasks; ++i) {
    for (std::uint32_t first = 0; first < n_rows; first += kMaxGemmRows) {
      const std::size_t row = std::size_t{i} * n_rows + first;
      ProductTask task;
      task.weight.data = pool + i * bytes;
      task.input = {x.codes + row * columns, x.scales + row * columns / 32,
                    x.sums + row * columns / 16};
      task.values = values + row * columns;
      task.output = output + row * rows;
      task.output_stride = task.rows = rows;
      task.n_rows = std::min(kMaxGemmRows, n_rows - first);
      tasks.push_back(task);
    }
  }
  ProductTask* const device_tasks = upload(tasks);
  ProductLaunch launch;
  launch.type = format.type;
  launch.columns = columns;
  launch.max_rows = rows;
  launch.n_tasks = static_cast<std::uint32_t>(tasks.size());
  launch.max_n_rows = std::min(kMaxGemmRows, n_rows);
  launch.in_float = in_float;
  const double time = seconds([&](cudaStream_t stream) {
    for (int i = 0; i < 4; ++i) check(launch_gemm(launch, device_tasks, stream), "gemm");
  });
  const double operations = 4 * 2.0 * static_cast<double>(x_rows) * rows * columns;
  std::printf("%3u x %ux%u, %3u rows %-4s %-6s  %8.2f us/launch %8.1f T/s", n_tasks, rows, columns,
              n_rows, in_float ? "f32" : "q8", format.name, 1e6 * time / 4,
              1e-12 * operations / time);
  if (!in_float) std::printf("  %5.1f %%", 100 * operations / time / ceiling);
  std::printf("\n");
  for (void* memory : {static_cast<void*>(x.codes), static_cast<void*>(x.scales),
                       static_cast<void*>(x.sums), static_cast<void*>(values),
                       static_cast<void*>(output), static_cast<void*>(device_tasks)}) {
    cudaFree(memory);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool all = argc > 1 && std::strcmp(argv[1], "all") == 0;
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  const auto pool_words = kPoolBytes / 16;
  auto* const pool = device_array<std::byte>(kPoolBytes);
  auto* const copy = device_array<std::byte>(kPoolBytes, 2);
  const Inputs in = make_inputs();
  std::printf("%s, %d multiprocessors, %d MiB L2\n", device.name, device.multiProcessorCount,
              device.l2CacheSize >> 20);

  const double copy_rate =
      2.0 * kPoolBytes / seconds([&](cudaStream_t stream) {
        check(cudaMemcpyAsync(copy, pool, kPoolBytes, cudaMemcpyDeviceToDevice, stream), "copy");
      });
  double read_rate = 0;
  for (const int blocks : {2, 4, 8}) {
    read_rate =
        std::max(read_rate, kPoolBytes / seconds([&](cudaStream_t stream) {
                              read_kernel<<<blocks * device.multiProcessorCount, 512, 0, stream>>>(
                                  reinterpret_cast<const uint4*>(pool), pool_words,
                                  reinterpret_cast<std::uint32_t*>(in.output));
                            }));
  }
  const double empty = seconds([&](cudaStream_t stream) {
                         for (int i = 0; i < 100; ++i) empty_kernel<<<132, 256, 0, stream>>>();
                       }) /
                       100;
  std::printf(
      "copy, read + written: %.1f GB/s; read alone, the ceiling: %.1f GB/s; empty launch %.2f us\n",
      1e-9 * copy_rate, 1e-9 * read_rate, 1e6 * empty);
  for (const Format& format : kFormats) {
    bench_matrices(format, pool, in, 32, 1, all, read_rate);
    bench_matrices(format, pool, in, 1, 1, all, read_rate);
    bench_matrices(format, pool, in, 32, 4, all, read_rate);
    bench_experts(format, pool, in, all, read_rate);
  }
  const double chain = bench_mma(device.multiProcessorCount, in);
  for (const Format& format : kFormats) {
    bench_gemm(format, pool, 1, 4096, 4096, 512, false, chain);
    bench_gemm(format, pool, 64, 1536, 2048, 32, false, chain);  // experts
    bench_gemm(format, pool, 64, 1536, 2048, 8, false, chain);
    bench_gemm(format, pool, 1, 4096, 4096, 512, true, chain);
  }
  return 0;
}

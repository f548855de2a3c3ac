// Attention at the shape of Qwen3-30B-A3B: 32 heads over 4 kv heads of 128. Arguments: threads,
// instruction set.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "base/canonical.h"
#include "base/compute.h"
#include "cpu/cpu_compute.h"
#include "tests/cpu/run_attention.h"

namespace sluice {
namespace {

/// One layer of one sequence with `positions` random keys, values and queries.
struct Layer {
  Layer(KvType type, std::size_t positions, Compute& compute)
      : shape{32, 4, 128, 128, type, 0.0884f},
        q(positions * shape.heads * shape.head_dim),
        out(q.size()) {
    const std::size_t vectors = shape.kv_heads * kKvBlock;
    const std::size_t bytes = vectors * kv_vector_bytes(type, shape.head_dim);
    for (std::size_t block = 0; block <= positions / kKvBlock; ++block) {
      storage.emplace_back(2 * bytes);
      blocks.push_back(storage.back().data());
    }
    for (std::size_t i = 0; i < positions; ++i) {
      rows.push_back({{blocks.data(), 0, bytes}, static_cast<std::uint32_t>(i), 0});
    }
    std::minstd_rand engine(1);
    for (float& x : q) x = static_cast<float>(engine() % 65536) / 32768.0f - 1.0f;
    // Queries do for keys and values as well.
    compute.store_kv(shape, rows, q.data(), stride(), q.data() + shape.kv_heads * shape.head_dim,
                     stride());
  }
  std::size_t stride() const { return shape.heads * shape.head_dim; }
  void attend(Compute& compute, std::size_t begin, std::size_t n) {
    test::run_attention(compute, shape, std::span(rows).subspan(begin, n),
                        q.data() + begin * stride(), stride(), out.data() + begin * stride(),
                        stride());
  }

  AttentionShape shape;
  std::vector<float> q, out;
  std::vector<std::vector<std::byte>> storage;
  std::vector<std::byte*> blocks;
  std::vector<AttentionRow> rows;
};

/// What the arguments ask for, or null with the benchmark marked as skipped.
std::unique_ptr<Compute> compute_of(benchmark::State& state) {
  auto compute = make_cpu_compute(static_cast<unsigned>(state.range(0)),
                                  all_isas()[static_cast<std::size_t>(state.range(1))]);
  if (!compute.ok()) {
    state.SkipWithError(compute.status().message().c_str());
    return nullptr;
  }
  state.SetLabel(std::string((*compute)->name()));
  return std::move(compute).value();
}

void attention_prefill(benchmark::State& state) {
  constexpr std::size_t kRows = 512;
  const auto compute = compute_of(state);
  if (compute == nullptr) return;
  Layer layer(KvType::kF16, kRows, *compute);
  for (auto _ : state) layer.attend(*compute, 0, kRows);
  const double flops = 2.0 * 2.0 * 32.0 * 128.0 * (kRows * (kRows + 1) / 2.0);
  state.counters["FLOP/s"] = benchmark::Counter(flops * static_cast<double>(state.iterations()),
                                                benchmark::Counter::kIsRate);
}

/// One row at 4096 positions; the layers of a model in turn, so that keys and values come from
/// memory.
void attention_decode(benchmark::State& state) {
  constexpr std::size_t kPositions = 4096, kLayers = 8;
  const auto compute = compute_of(state);
  if (compute == nullptr) return;
  const auto type = static_cast<KvType>(state.range(2));
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t i = 0; i < kLayers; ++i) {
    layers.push_back(std::make_unique<Layer>(type, kPositions, *compute));
  }
  std::size_t next = 0;
  for (auto _ : state) layers[next++ % kLayers]->attend(*compute, kPositions - 1, 1);
  const double per_pass = static_cast<double>(kPositions) * 4.0;
  const double iterations = static_cast<double>(state.iterations());
  state.counters["FLOP/s"] =
      benchmark::Counter(per_pass * 8.0 * 128.0 * 4.0 * iterations, benchmark::Counter::kIsRate);
  state.SetBytesProcessed(static_cast<std::int64_t>(
      per_pass * 2.0 * static_cast<double>(kv_vector_bytes(type, 128)) * iterations));
}

constexpr std::int64_t kSets[] = {1, 2};  // AVX2, AVX-512
BENCHMARK(attention_prefill)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->ArgNames({"threads", "isa"})
    ->ArgsProduct({{1, 2}, {kSets[0], kSets[1]}});
BENCHMARK(attention_decode)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"threads", "isa", "kv"})
    ->ArgsProduct({{1, 2}, {kSets[0], kSets[1]}, {0, 1, 2}});

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();

#include "bench/kernel_benchmarks.h"

#include <atomic>
#include <chrono>
#include <random>
#include <utility>

#include "apps/memory_readers.h"

namespace sluice {

std::string ProductShape::name() const {
  return std::to_string(rows) + "x" + std::to_string(columns) + "/" +
         std::to_string(activation_rows) + "/" + std::to_string(threads);
}

AlignedBuffer allocate(std::size_t bytes) {
  return std::move(AlignedBuffer::allocate(bytes)).value();
}

OwnedActivations::OwnedActivations(std::size_t rows, std::size_t columns, bool with_codes)
    : memory(allocate(Activations::bytes(rows, columns, with_codes))),
      view(Activations::carve(memory.data(), rows, columns, with_codes)) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < rows * columns; ++i) view.values[i] = normal(random);
}

void KernelBenchmarks::add(const std::string& kind, const std::string& format,
                           const ProductShape& shape, Maker make) {
  const std::string name = kind + "/" + format + "/" + shape.name();
  benchmark::RegisterBenchmark(name.c_str(), [this, name, shape,
                                              make = std::move(make)](benchmark::State& state) {
    time(state, name, shape, make);
  })->UseRealTime();
}

Status KernelBenchmarks::set_up(const std::string& name, const ProductShape& shape,
                                const Maker& make) {
  if (name == name_) return {};
  name_.clear();
  run_ = nullptr;  // before the next one: there may be memory for one alone
  SLUICE_ASSIGN(run_, make());
  memory_gbs_ = 0;
  // Now and of these very bytes: what a machine that others share can do changes.
  if (const std::span<const std::byte> streamed = run_->streamed(); !streamed.empty()) {
    const std::atomic<bool> never = false;
    SLUICE_ASSIGN(memory_gbs_, apps::measure_memory(streamed, shape.threads, never));
  }
  name_ = name;
  return {};
}

void KernelBenchmarks::time(benchmark::State& state, const std::string& name,
                            const ProductShape& shape, const Maker& make) {
  Status status = set_up(name, shape, make);
  if (!status.ok()) return state.SkipWithError(status.message().c_str());
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    status = run_->call();
    if (!status.ok()) return state.SkipWithError(status.message().c_str());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double matrices = static_cast<double>(state.iterations()) *
                          static_cast<double>(run_->products()) / seconds.count();
  const double gbs = matrices * static_cast<double>(run_->matrix_bytes()) / 1e9;
  state.counters["matrices/s"] = matrices;
  state.counters["GB/s"] = gbs;
  state.counters["GOP/s"] =
      matrices * 2e-9 * static_cast<double>(shape.rows * shape.columns * shape.activation_rows);
  if (memory_gbs_ > 0) {
    state.counters["memory_GB/s"] = memory_gbs_;
    state.counters["of_memory"] = gbs / memory_gbs_;
  }
}

}  // namespace sluice

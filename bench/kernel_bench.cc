// How fast weights meet activations: bytes of weights a second while they stream from memory
// (decode), and operations a second (prefill). Names read `kind/format/weight rows x
// columns/activation rows/threads`; SLUICE_ISA chooses the kernels.
//
//     kernel_bench --benchmark_filter='decode/Q4_0'

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/half.h"
#include "base/tensor_format.h"
#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

constexpr std::size_t kStreamedBytes = std::size_t{1200} << 20;  // far more than any cache
constexpr std::size_t kExpertsATime = 8;

struct Shape {
  const TensorFormat* format;
  std::size_t rows, columns;  // of a weight matrix
  std::size_t activation_rows;
  unsigned threads;
  const NestedForm* form = nullptr;  // of planes
  unsigned width = 0;

  /// Without its bytes.
  WeightMatrix matrix() const {
    WeightMatrix weight{format, nullptr, rows, columns};
    if (form == nullptr) return weight;
    weight.layout = WeightLayout::kPlanes;
    weight.nested.form = form;
    weight.nested.width = static_cast<std::uint8_t>(width);
    std::uint64_t end = 0;
    for (std::size_t group = 0; group < form->groups_of(width); ++group) {
      weight.nested.at[group] = end;
      end += form->group_bytes(group, rows, columns);
    }
    return weight;
  }
  std::size_t bytes() const { return matrix().bytes(); }
  std::string name() const {
    return form == nullptr ? std::string(format->name)
                           : std::string(form->name) + "_w" + std::to_string(width);
  }
};

AlignedBuffer allocate(std::size_t bytes) {
  return std::move(AlignedBuffer::allocate(bytes)).value();
}

/// Random codes; scales are whatever their bytes say, which costs the same except where they are
/// subnormal.
AlignedBuffer random_weights(std::size_t bytes) {
  AlignedBuffer weights = allocate(bytes);
  weights.prefer_huge_pages();  // as the engine's
  std::mt19937_64 random(1);
  auto* const words = weights.as<std::uint64_t>();
  const std::size_t fresh = std::min(bytes / 8, std::size_t{1} << 20);
  for (std::size_t i = 0; i < fresh; ++i) words[i] = random() & 0xbbffbbffbbffbbff;
  for (std::size_t i = fresh; i < bytes / 8; ++i) words[i] = words[i - fresh];
  return weights;
}

struct OwnedActivations {
  OwnedActivations(std::size_t rows, std::size_t columns, bool with_codes)
      : memory(allocate(Activations::bytes(rows, columns, with_codes))),
        view(Activations::carve(memory.data(), rows, columns, with_codes)) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < rows * columns; ++i) view.values[i] = normal(random);
  }
  AlignedBuffer memory;
  Activations view;
};

void multiply(benchmark::State& state, const Shape& shape, bool streamed, bool with_codes,
              bool repacked) {
  auto compute = make_cpu_compute(shape.threads);
  if (!compute.ok()) return state.SkipWithError(compute.status().message().c_str());
  const std::size_t matrix_bytes = shape.bytes();
  const std::size_t at_a_time = streamed ? kExpertsATime : 1;
  const std::size_t matrices =
      streamed ? kStreamedBytes / matrix_bytes / at_a_time * at_a_time : at_a_time;
  AlignedBuffer weights = random_weights(matrices * matrix_bytes);
  // As the engine keeps them: turned, unless a matrix is one that was just read.
  WeightMatrix matrix = shape.matrix();
  for (std::size_t i = 0; repacked && i < matrices; ++i) {
    matrix.data = weights.data() + i * matrix_bytes;
    matrix.layout = WeightLayout::kRows;
    const RepackTask task{&matrix, weights.data() + i * matrix_bytes};
    (*compute)->repack({&task, 1});
  }
  OwnedActivations input(shape.activation_rows, shape.columns, with_codes);
  (*compute)->quantise(input.view, shape.activation_rows);
  const AlignedBuffer output = allocate(at_a_time * shape.activation_rows * shape.rows * 4);

  std::vector<MatmulTask> tasks(at_a_time);
  std::size_t next = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < at_a_time; ++i) {
      MatmulTask& task = tasks[i];
      task.weight = matrix;
      task.weight.data = weights.data() + (next + i) * matrix_bytes;
      task.input = input.view;
      task.n_rows = shape.activation_rows;
      task.output = const_cast<float*>(reinterpret_cast<const float*>(output.data())) +
                    i * shape.activation_rows * shape.rows;
      task.output_stride = shape.rows;
    }
    (*compute)->matmul(tasks);
    next = (next + at_a_time) % matrices;
  }
  const auto calls = static_cast<double>(state.iterations() * static_cast<std::int64_t>(at_a_time));
  state.counters["GB/s"] = benchmark::Counter(calls * static_cast<double>(matrix_bytes) / 1e9,
                                              benchmark::Counter::kIsRate);
  state.counters["GOP/s"] = benchmark::Counter(
      calls * 2e-9 * static_cast<double>(shape.rows * shape.columns * shape.activation_rows),
      benchmark::Counter::kIsRate);
}

void register_planes(const auto& add) {
  for (const NestedForm& form : nested_forms()) {
    for (std::size_t groups = 1; groups <= form.group_count; ++groups) {
      for (const unsigned threads : {1u, 2u}) {
        const auto shape = [&](std::size_t rows, std::size_t columns, std::size_t activations) {
          return Shape{&form.format(), rows,  columns,           activations,
                       threads,        &form, form.width(groups)};
        };
        add("decode", shape(768, 2048, 1), true, true, false);
        add("decode", shape(2048, 768, 1), true, true, false);
        add("decode", shape(768, 2048, 4), true, true, false);
        add("prefill", shape(2048, 2048, 512), false, true, false);
      }
    }
  }
}

void register_all() {
  const auto add = [](const std::string& kind, const Shape& shape, bool streamed, bool with_codes,
                      bool repacked = true) {
    const std::string name = kind + "/" + shape.name() + "/" + std::to_string(shape.rows) + "x" +
                             std::to_string(shape.columns) + "/" +
                             std::to_string(shape.activation_rows) + "/" +
                             std::to_string(shape.threads);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
      multiply(state, shape, streamed, with_codes, repacked);
    })->UseRealTime();
  };
  for (const TensorFormat& format : tensor_formats()) {
    for (const unsigned threads : {1u, 2u}) {
      for (const std::size_t rows : {1, 2, 4}) {
        add("decode", {&format, 768, 2048, rows, threads}, true, format.quantised());
        add("decode", {&format, 2048, 768, rows, threads}, true, format.quantised());
        if (format.quantised()) {
          add("decode_just_read", {&format, 768, 2048, rows, threads}, true, true, false);
        }
      }
      for (const std::size_t rows : {8, 32, 512}) {
        add("prefill", {&format, 2048, 2048, rows, threads}, false, format.quantised());
        if (format.quantised())
          add("prefill_f32", {&format, 2048, 2048, rows, threads}, false, false);
      }
    }
  }
  register_planes(add);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

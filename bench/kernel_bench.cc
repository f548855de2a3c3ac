// How fast weights meet activations: bytes of weights a second while they stream from memory
// (decode), and operations a second (prefill). Names read `kind/format/weight rows x
// columns/activation rows/threads`; SLUICE_ISA chooses the kernels. `of_memory` is the share of
// what as many threads read that only sum up the same bytes (memory_GB/s, measured just before).
// Where CMake has found ggml (-Dggml_ROOT=PREFIX), its kernels are of the kinds `ggml` and
// `ggml_repacked` (bench/ggml_bench.h). bench/compare_kernels.py makes tables of all.
//
//     kernel_bench --benchmark_filter='decode/Q4_0'

#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor_format.h"
#include "bench/kernel_benchmarks.h"
#include "cpu/cpu_compute.h"

#ifdef SLUICE_HAVE_GGML
#include "bench/ggml_bench.h"
#endif

namespace sluice {
namespace {

/// A matrix's numbers: a format's blocks, or a nested form's planes.
struct Numbers {
  const TensorFormat* format = nullptr;
  const NestedForm* form = nullptr;  // of planes
  unsigned width = 0;

  /// Without its bytes.
  WeightMatrix matrix(std::size_t rows, std::size_t columns) const {
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
  std::string name() const {
    return form == nullptr ? std::string(format->name)
                           : std::string(form->name) + "_w" + std::to_string(width);
  }
};

struct Kind {
  std::string name;
  bool streamed;
  bool with_codes;
  bool repacked = true;  // turned, as the engine keeps all but what was just read
};

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

class OwnRun final : public ProductRun {
 public:
  static Result<std::unique_ptr<ProductRun>> make(const Numbers& numbers, const ProductShape& shape,
                                                  const Kind& kind) {
    SLUICE_ASSIGN(std::unique_ptr<Compute> compute, make_cpu_compute(shape.threads));
    return std::unique_ptr<ProductRun>(new OwnRun(numbers, shape, kind, std::move(compute)));
  }

  Status call() override {
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      MatmulTask& task = tasks_[i];
      task.weight = matrix_;
      task.weight.data = weights_.data() + (next_ + i) * matrix_bytes_;
      task.input = input_.view;
      task.n_rows = shape_.activation_rows;
      task.output = output_.as<float>() + i * shape_.activation_rows * shape_.rows;
      task.output_stride = shape_.rows;
    }
    compute_->matmul(tasks_);
    next_ = (next_ + tasks_.size()) % matrices_;
    return {};
  }
  std::size_t products() const override { return tasks_.size(); }
  std::size_t matrix_bytes() const override { return matrix_bytes_; }
  std::span<const std::byte> streamed() const override {
    return {weights_.data(), streamed_ ? matrices_ * matrix_bytes_ : 0};
  }

 private:
  OwnRun(const Numbers& numbers, const ProductShape& shape, const Kind& kind,
         std::unique_ptr<Compute> compute)
      : shape_(shape),
        streamed_(kind.streamed),
        compute_(std::move(compute)),
        matrix_(numbers.matrix(shape.rows, shape.columns)),
        matrix_bytes_(matrix_.bytes()),
        tasks_(kind.streamed ? kExpertsATime : 1),
        matrices_(kind.streamed ? kStreamedBytes / matrix_bytes_ / kExpertsATime * kExpertsATime
                                : 1),
        weights_(random_weights(matrices_ * matrix_bytes_)),
        input_(shape.activation_rows, shape.columns, kind.with_codes),
        output_(allocate(tasks_.size() * shape.activation_rows * shape.rows * 4)) {
    for (std::size_t i = 0; kind.repacked && i < matrices_; ++i) {
      matrix_.data = weights_.data() + i * matrix_bytes_;
      matrix_.layout = WeightLayout::kRows;
      const RepackTask task{&matrix_, weights_.data() + i * matrix_bytes_};
      compute_->repack({&task, 1});
    }
    compute_->quantise(input_.view, shape.activation_rows);
  }

  const ProductShape shape_;
  const bool streamed_;
  const std::unique_ptr<Compute> compute_;
  WeightMatrix matrix_;  // of any of them but for its data
  const std::size_t matrix_bytes_;
  std::vector<MatmulTask> tasks_;
  const std::size_t matrices_;
  AlignedBuffer weights_;
  OwnedActivations input_;
  AlignedBuffer output_;
  std::size_t next_ = 0;
};

void register_planes(const auto& add) {
  for (const NestedForm& form : nested_forms()) {
    for (std::size_t groups = 1; groups <= form.group_count; ++groups) {
      const Numbers numbers{&form.format(), &form, form.width(groups)};
      for (const unsigned threads : {1u, 2u}) {
        const Kind decode{"decode", true, true, false}, prefill{"prefill", false, true, false};
        add(decode, numbers, {768, 2048, 1, threads});
        add(decode, numbers, {2048, 768, 1, threads});
        add(decode, numbers, {768, 2048, 4, threads});
        add(prefill, numbers, {2048, 2048, 512, threads});
      }
    }
  }
}

void register_own(KernelBenchmarks& benchmarks) {
  const auto add = [&](const Kind& kind, const Numbers& numbers, const ProductShape& shape) {
    benchmarks.add(kind.name, numbers.name(), shape,
                   [=] { return OwnRun::make(numbers, shape, kind); });
  };
  for (const TensorFormat& format : tensor_formats()) {
    const bool quantised = format.quantised();
    const Kind decode{"decode", true, quantised}, prefill{"prefill", false, quantised};
    for (const unsigned threads : {1u, 2u}) {
      for (const std::size_t rows : {1, 2, 4}) {
        add(decode, {&format}, {768, 2048, rows, threads});
        add(decode, {&format}, {2048, 768, rows, threads});
        if (quantised) {
          add({"decode_just_read", true, true, false}, {&format}, {768, 2048, rows, threads});
        }
      }
      for (const std::size_t rows : {8, 32, 512}) {
        add(prefill, {&format}, {2048, 2048, rows, threads});
        if (quantised) {
          add({"prefill_f32", false, false}, {&format}, {2048, 2048, rows, threads});
        }
      }
    }
  }
  register_planes(add);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::KernelBenchmarks benchmarks;
  sluice::register_own(benchmarks);
#ifdef SLUICE_HAVE_GGML
  sluice::register_ggml(benchmarks);
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (const auto compute = sluice::make_cpu_compute(1); compute.ok()) {
    benchmark::AddCustomContext("sluice", std::string((*compute)->name()));
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

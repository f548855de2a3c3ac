#include "bench/ggml_bench.h"

#include <benchmark/benchmark.h>
#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor_format.h"
#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

constexpr std::size_t kExpertsInLayer = 128;
constexpr std::size_t kFreshRows = 64;  // that are quantised; matrices are made of them
// Of outputs, relative. Two ways of rounding activations to 8 bits differ by less than 0.01.
constexpr double kMostError = 0.02;

struct ThreadpoolDeleter {
  void operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }
};
using ThreadpoolPointer = std::unique_ptr<ggml_threadpool, ThreadpoolDeleter>;

ggml_context_ptr make_context() {
  ggml_init_params params{};
  params.mem_size = 256 * ggml_tensor_overhead() + ggml_graph_overhead();
  params.no_alloc = true;
  return ggml_context_ptr(ggml_init(params));
}

ggml_type type_of(const TensorFormat& format) {
  return static_cast<ggml_type>(format.type);  // both number types as GGUF files do
}

bool known_to_ggml(const TensorFormat& format) {
  if (!format.quantised() || static_cast<std::uint32_t>(format.type) >= GGML_TYPE_COUNT) {
    return false;
  }
  return ggml_type_size(type_of(format)) == format.block_bytes &&
         ggml_blck_size(type_of(format)) == format.block_elements;
}

/// What is multiplied, as tensors.
struct Product {
  ggml_tensor* input = nullptr;    // [columns, 1 of experts, activation rows]
  ggml_tensor* experts = nullptr;  // which, [8, activation rows]; null: there is one matrix
};

Product make_inputs(ggml_context* context, const ProductShape& shape, bool streamed) {
  const auto columns = static_cast<std::int64_t>(shape.columns);
  const auto rows = static_cast<std::int64_t>(shape.activation_rows);
  if (!streamed) return {ggml_new_tensor_2d(context, GGML_TYPE_F32, columns, rows)};
  return {ggml_new_tensor_3d(context, GGML_TYPE_F32, columns, 1, rows),
          ggml_new_tensor_2d(context, GGML_TYPE_I32, kExpertsATime, rows)};
}

ggml_tensor* make_weights(ggml_context* context, const TensorFormat& format,
                          const ProductShape& shape, bool streamed) {
  const auto columns = static_cast<std::int64_t>(shape.columns);
  const auto rows = static_cast<std::int64_t>(shape.rows);
  return streamed ? ggml_new_tensor_3d(context, type_of(format), columns, rows, kExpertsInLayer)
                  : ggml_new_tensor_2d(context, type_of(format), columns, rows);
}

ggml_tensor* multiply(ggml_context* context, ggml_tensor* weights, const Product& product) {
  return product.experts == nullptr
             ? ggml_mul_mat(context, weights, product.input)
             : ggml_mul_mat_id(context, weights, product.input, product.experts);
}

/// Where the CPU keeps such weights in an order of its own; null: nowhere.
ggml_backend_buffer_type_t repacking_buffer(const TensorFormat& format, const ProductShape& shape,
                                            bool streamed) {
  ggml_backend_reg_t const registry = ggml_backend_cpu_reg();
  ggml_backend_dev_t const device = ggml_backend_reg_dev_get(registry, 0);
  const auto extra_types = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
  if (extra_types == nullptr) return nullptr;
  for (ggml_backend_buffer_type_t* type = extra_types(device); type != nullptr && *type; ++type) {
    const ggml_context_ptr context = make_context();
    const ggml_backend_buffer_ptr nothing(ggml_backend_buft_alloc_buffer(*type, 0));
    ggml_tensor* const weights = make_weights(context.get(), format, shape, streamed);
    weights->buffer = nothing.get();
    const Product product = make_inputs(context.get(), shape, streamed);
    if (ggml_backend_dev_supports_op(device, multiply(context.get(), weights, product))) {
      return *type;
    }
  }
  return nullptr;
}

/// As AlignedBuffer::prefer_huge_pages, for kernels are to be compared and not pages. Its first and
/// last page may be shared with others.
void prefer_huge_pages(ggml_backend_buffer_t buffer) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(ggml_backend_buffer_get_base(buffer));
  const std::uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const std::uintptr_t end = (begin + ggml_backend_buffer_get_size(buffer)) / kPage * kPage;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
}

/// Matrices of normal numbers as ggml quantises them: rows drawn from a few, for some types take
/// their time.
AlignedBuffer quantised_matrices(const TensorFormat& format, const ProductShape& shape,
                                 std::size_t matrices) {
  const std::size_t row_bytes = format.bytes(shape.columns);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(kFreshRows * shape.columns);
  std::generate(numbers.begin(), numbers.end(), [&] { return normal(random); });
  const std::vector<float> importance(shape.columns, 1.0f);
  std::vector<std::byte> fresh(kFreshRows * row_bytes);
  ggml_quantize_chunk(
      type_of(format), numbers.data(), fresh.data(), 0, kFreshRows,
      static_cast<std::int64_t>(shape.columns),
      ggml_quantize_requires_imatrix(type_of(format)) ? importance.data() : nullptr);
  AlignedBuffer all = allocate(matrices * shape.rows * row_bytes);
  for (std::size_t row = 0; row < matrices * shape.rows; ++row) {
    std::memcpy(all.data() + row * row_bytes, fresh.data() + random() % kFreshRows * row_bytes,
                row_bytes);
  }
  return all;
}

class GgmlRun final : public ProductRun {
 public:
  static Result<std::unique_ptr<ProductRun>> make(const TensorFormat& format,
                                                  const ProductShape& shape, bool streamed,
                                                  ggml_backend_buffer_type_t buffer_type) {
    std::unique_ptr<GgmlRun> run(new GgmlRun(format, shape, streamed));
    SLUICE_TRY(run->set_up(buffer_type));
    return std::unique_ptr<ProductRun>(std::move(run));
  }

  Status call() override {
    take_next_experts();
    if (ggml_backend_graph_compute(backend_.get(), graph_) == GGML_STATUS_SUCCESS) return {};
    return {ErrorCode::kInternal, "ggml could not compute its graph"};
  }
  std::size_t products() const override { return at_a_time_ * weights_.size(); }
  std::size_t matrix_bytes() const override { return shape_.rows * format_.bytes(shape_.columns); }
  std::span<const std::byte> streamed() const override {
    return {static_cast<const std::byte*>(ggml_backend_buffer_get_base(weight_memory_.get())),
            streamed_ ? weights_.size() * kExpertsInLayer * matrix_bytes() : 0};
  }

 private:
  GgmlRun(const TensorFormat& format, const ProductShape& shape, bool streamed)
      : format_(format),
        shape_(shape),
        streamed_(streamed),
        at_a_time_(streamed ? kExpertsATime : 1) {}

  Status set_up(ggml_backend_buffer_type_t buffer_type);
  Status fill_weights();
  Status compare_with_own(const std::byte* matrices, const OwnedActivations& input) const;
  /// Of all rows, in all layers.
  void take_next_experts();

  const TensorFormat& format_;
  const ProductShape shape_;
  const bool streamed_;
  const std::size_t at_a_time_;  // matrices of a layer

  ThreadpoolPointer threads_;
  ggml_backend_ptr backend_;
  ggml_context_ptr weight_context_, context_;
  ggml_backend_buffer_ptr weight_memory_, memory_;
  std::vector<ggml_tensor*> weights_;  // of each layer
  Product product_;
  ggml_tensor* first_output_ = nullptr;  // [rows, at_a_time_, activation rows]
  ggml_cgraph* graph_ = nullptr;
  std::int32_t next_ = 0;
};

Status GgmlRun::set_up(ggml_backend_buffer_type_t buffer_type) {
  const auto threads = static_cast<int>(shape_.threads);
  ggml_threadpool_params params = ggml_threadpool_params_default(threads);
  threads_.reset(ggml_threadpool_new(&params));
  backend_.reset(ggml_backend_cpu_init());
  ggml_backend_cpu_set_n_threads(backend_.get(), threads);
  ggml_backend_cpu_set_threadpool(backend_.get(), threads_.get());

  const std::size_t layer_bytes = kExpertsInLayer * matrix_bytes();
  const std::size_t layers =
      streamed_ ? std::max<std::size_t>(1, (kStreamedBytes + layer_bytes / 2) / layer_bytes) : 1;
  weight_context_ = make_context();
  for (std::size_t i = 0; i < layers; ++i) {
    weights_.push_back(make_weights(weight_context_.get(), format_, shape_, streamed_));
  }
  weight_memory_.reset(
      ggml_backend_alloc_ctx_tensors_from_buft(weight_context_.get(), buffer_type));
  context_ = make_context();
  product_ = make_inputs(context_.get(), shape_, streamed_);
  graph_ = ggml_new_graph(context_.get());
  for (ggml_tensor* const weights : weights_) {
    ggml_tensor* const output = multiply(context_.get(), weights, product_);
    if (first_output_ == nullptr) first_output_ = output;
    ggml_build_forward_expand(graph_, output);
  }
  memory_.reset(ggml_backend_alloc_ctx_tensors(context_.get(), backend_.get()));
  if (weight_memory_ == nullptr || memory_ == nullptr) {
    return {ErrorCode::kBudget, "ggml found no memory for its weights"};
  }
  prefer_huge_pages(weight_memory_.get());
  return fill_weights();
}

Status GgmlRun::fill_weights() {
  const AlignedBuffer matrices =
      quantised_matrices(format_, shape_, streamed_ ? kExpertsInLayer : 1);
  const std::size_t bytes = ggml_nbytes(weights_[0]);
  ggml_backend_tensor_set(weights_[0], matrices.data(), 0, bytes);  // repacks
  for (ggml_tensor* const weights : weights_) {
    if (weights != weights_[0]) std::memcpy(weights->data, weights_[0]->data, bytes);
  }
  const OwnedActivations input(shape_.activation_rows, shape_.columns, true);
  ggml_backend_tensor_set(product_.input, input.view.values, 0, ggml_nbytes(product_.input));
  SLUICE_TRY(call());
  return compare_with_own(matrices.data(), input);
}

void GgmlRun::take_next_experts() {
  if (product_.experts == nullptr) return;
  auto* const experts = static_cast<std::int32_t*>(product_.experts->data);
  for (std::size_t i = 0; i < shape_.activation_rows * kExpertsATime; ++i) {
    experts[i] = next_ + static_cast<std::int32_t>(i % kExpertsATime);
  }
  next_ = (next_ + static_cast<std::int32_t>(kExpertsATime)) % std::int32_t{kExpertsInLayer};
}

Status GgmlRun::compare_with_own(const std::byte* matrices, const OwnedActivations& input) const {
  SLUICE_ASSIGN(const std::unique_ptr<Compute> compute, make_cpu_compute(shape_.threads));
  compute->quantise(input.view, shape_.activation_rows);
  const std::size_t outputs = shape_.rows * shape_.activation_rows;
  std::vector<float> own(at_a_time_ * outputs);
  std::vector<MatmulTask> tasks(at_a_time_);
  for (std::size_t i = 0; i < at_a_time_; ++i) {
    MatmulTask& task = tasks[i];
    task.weight = {&format_, matrices + i * matrix_bytes(), shape_.rows, shape_.columns};
    task.input = input.view;
    task.n_rows = shape_.activation_rows;
    task.output = own.data() + i * outputs;
    task.output_stride = shape_.rows;
  }
  compute->matmul(tasks);

  std::vector<float> theirs(at_a_time_ * outputs);
  ggml_backend_tensor_get(first_output_, theirs.data(), 0, theirs.size() * sizeof(float));
  for (std::size_t matrix = 0; matrix < at_a_time_; ++matrix) {
    double difference = 0, size = 0;
    for (std::size_t row = 0; row < shape_.activation_rows; ++row) {
      for (std::size_t i = 0; i < shape_.rows; ++i) {
        const double ours = own[(matrix * shape_.activation_rows + row) * shape_.rows + i];
        const double other = theirs[(row * at_a_time_ + matrix) * shape_.rows + i];
        difference += (ours - other) * (ours - other);
        size += ours * ours;
      }
    }
    const double error = std::sqrt(difference / size);
    if (!(error < kMostError)) {  // nor is NaN
      return {ErrorCode::kInternal, "ggml's product differs from Sluice's of the same weights by " +
                                        std::to_string(100 * error) +
                                        " %: one of them does not multiply these"};
    }
  }
  return {};
}

std::string features() {
  std::string all = ggml_version();
  ggml_backend_reg_t const registry = ggml_backend_cpu_reg();
  const auto get = reinterpret_cast<ggml_backend_get_features_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_get_features"));
  if (get == nullptr) return all;
  for (const ggml_backend_feature* feature = get(registry); feature->name != nullptr; ++feature) {
    all += std::string(" ") + feature->name;
  }
  return all;
}

/// Which tensor it repacks, for one, is no news.
void log_problems(ggml_log_level level, const char* text, void* /*unused*/) {
  if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

}  // namespace

void register_ggml(KernelBenchmarks& benchmarks) {
  ggml_log_set(log_problems, nullptr);
  benchmark::AddCustomContext("ggml", features());  // tells a build for this machine from others
  const auto add = [&](const TensorFormat& format, const ProductShape& shape, bool streamed) {
    const auto add_in = [&](const char* kind, ggml_backend_buffer_type_t buffer_type) {
      const std::string name(format.name);
      benchmarks.add(kind, name, shape,
                     [=, &format] { return GgmlRun::make(format, shape, streamed, buffer_type); });
    };
    add_in("ggml", ggml_backend_cpu_buffer_type());
    if (ggml_backend_buffer_type_t const repacking = repacking_buffer(format, shape, streamed)) {
      add_in("ggml_repacked", repacking);
    }
  };
  for (const TensorFormat& format : tensor_formats()) {
    if (!known_to_ggml(format)) continue;
    for (const unsigned threads : {1u, 2u}) {
      add(format, {768, 2048, 1, threads}, true);
      add(format, {2048, 768, 1, threads}, true);
      add(format, {768, 2048, 4, threads}, true);
      add(format, {2048, 2048, 512, threads}, false);
    }
  }
}

}  // namespace sluice

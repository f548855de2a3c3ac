#include "cuda/product_plan.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "cuda/gemm.h"
#include "cuda/gemv.h"

namespace sluice::cuda {
namespace {

constexpr std::uintptr_t kAlignment = 16;

bool same_kind(const ProductLaunch& a, const ProductLaunch& b) {
  return a.type == b.type && a.columns == b.columns && a.gated == b.gated &&
         a.in_float == b.in_float && a.form == b.form && a.width == b.width;
}

/// What a launch of such weights is, but for its tasks.
ProductLaunch kind_of(const WeightMatrix& weight, bool in_float) {
  ProductLaunch launch;
  launch.type = weight.format->type;
  launch.columns = static_cast<std::uint32_t>(weight.columns);
  launch.in_float = !weight.format->quantised() || in_float;
  if (weight.layout == WeightLayout::kPlanes) {
    launch.form = weight.nested.form;
    launch.width = weight.nested.width;
  }
  return launch;
}

bool has_kernel(const WeightMatrix& weight, bool in_float) {
  const bool readable =
      weight.layout == WeightLayout::kRows || weight.layout == WeightLayout::kPlanes;
  return readable && has_gemv(kind_of(weight, in_float));
}

ProductWeight weight_of(const WeightMatrix& matrix) {
  ProductWeight weight = {.data = matrix.data};
  std::ranges::copy(matrix.nested.at, weight.at);
  return weight;
}

/// Activations from row `first` on, of which all may be chosen by index.
QuantisedRows quantised_rows(const Activations& rows, std::size_t first) {
  if (rows.codes == nullptr) return {};
  return {rows.codes + first * rows.columns, rows.scales + first * (rows.columns / 32),
          rows.sums + first * (rows.columns / 16)};
}

/// Rows of a task that one kernel takes at once.
struct Pieces {
  Pieces(const ProductLaunch& launch, std::size_t n_rows)
      : many_rows(n_rows > kMaxGemvRows && has_gemm(launch)),
        at_once(many_rows ? kMaxGemmRows : kMaxGemvRows),
        all(n_rows) {}
  std::uint32_t count(std::size_t first) const {
    return static_cast<std::uint32_t>(std::min<std::size_t>(at_once, all - first));
  }

  bool many_rows;
  std::uint32_t at_once;
  std::size_t all;
};

/// The piece of a product that begins with row `first`.
ProductTask product_of(const WeightMatrix& weight, const Activations& input,
                       const std::uint32_t* row_index, const Pieces& pieces, std::size_t first) {
  ProductTask task;
  task.weight = weight_of(weight);
  const std::size_t first_input = row_index == nullptr ? first : 0;
  task.input = quantised_rows(input, first_input);
  task.values = input.values + first_input * input.columns;
  task.row_index = row_index == nullptr ? nullptr : row_index + first;
  task.rows = static_cast<std::uint32_t>(weight.rows);
  task.n_rows = pieces.count(first);
  return task;
}

}  // namespace

bool ProductPlan::takes(const WeightMatrix& weight) {
  return has_kernel(weight, /*in_float=*/false) && has_kernel(weight, /*in_float=*/true);
}

Result<ProductLaunch> ProductPlan::launch_of(const WeightMatrix& weight, const Activations& input,
                                             std::string_view name) const {
  const bool planes = weight.layout == WeightLayout::kPlanes;
  const auto what = [&] {
    return "the " + std::string(name) + " matrix, " +
           (planes ? std::string(weight.nested.form->name) + " at " +
                         std::to_string(weight.nested.width) + " bits"
                   : std::string(weight.format->name)) +
           " of " + std::to_string(weight.rows) + " x " + std::to_string(weight.columns);
  };
  if (!has_kernel(weight, input.codes == nullptr)) {
    return Status(ErrorCode::kUnsupported, what() + ", has no CUDA kernel");
  }
  if (reinterpret_cast<std::uintptr_t>(weight.data) % kAlignment != 0) {
    return Status(ErrorCode::kInvalidArgument, what() + ", is not aligned to 16 bytes");
  }
  ProductLaunch launch = kind_of(weight, input.codes == nullptr);
  launch.shared_limit = shared_limit_;
  return launch;
}

Status ProductPlan::plan(std::span<const MatmulTask> tasks) {
  used_ = 0;
  for (const MatmulTask& task : tasks) {
    if (task.n_rows != 0) SLUICE_TRY(add(task));
  }
  finish();
  return {};
}

Status ProductPlan::plan(std::span<const FfnTask> tasks) {
  used_ = 0;
  for (const FfnTask& task : tasks) {
    if (task.n_rows != 0) SLUICE_TRY(add(task));
  }
  finish();
  return {};
}

Status ProductPlan::add(const MatmulTask& task) {
  SLUICE_ASSIGN(const ProductLaunch launch, launch_of(task.weight, task.input, "weight"));
  const Pieces pieces(launch, task.n_rows);
  for (std::size_t first = 0; first < task.n_rows; first += pieces.at_once) {
    ProductTask product = product_of(task.weight, task.input, task.row_index, pieces, first);
    product.bias = task.bias;
    product.output = task.output + first * task.output_stride;
    product.output_stride = static_cast<std::uint32_t>(task.output_stride);
    add(Phase::kLast, launch, pieces.many_rows, product);
  }
  return {};
}

Status ProductPlan::add(const FfnTask& task) {
  SLUICE_ASSIGN(const ProductLaunch gate, launch_of(task.gate, task.input, "gate"));
  SLUICE_ASSIGN(const ProductLaunch up, launch_of(task.up, task.input, "up"));
  SLUICE_ASSIGN(const ProductLaunch down, launch_of(task.down, task.hidden, "down"));
  const bool together = same_kind(gate, up);
  const Pieces of_gate(gate, task.n_rows), of_up(up, task.n_rows), of_down(down, task.n_rows);
  for (std::size_t first = 0; !together && first < task.n_rows; first += of_gate.at_once) {
    ProductTask product = product_of(task.gate, task.input, task.row_index, of_gate, first);
    product.bias = task.gate_bias;
    product.output = task.hidden.values + first * task.hidden.columns;
    product.output_stride = product.rows;
    add(Phase::kGates, gate, of_gate.many_rows, product);
  }
  for (std::size_t first = 0; first < task.n_rows; first += of_up.at_once) {
    float* const values = task.hidden.values + first * task.hidden.columns;
    ProductTask product =
        product_of(together ? task.gate : task.up, task.input, task.row_index, of_up, first);
    product.bias = together ? task.gate_bias : task.up_bias;
    if (together) {
      product.up = weight_of(task.up);
      product.up_bias = task.up_bias;
    } else {
      product.gate = values;
    }
    if (down.in_float) {
      product.output = values;
    } else {
      product.hidden = quantised_rows(task.hidden, first);
    }
    product.output_stride = product.rows;
    product.activation = task.activation;
    product.alpha = task.alpha;
    product.limit = task.limit;
    add(Phase::kUps, up, of_up.many_rows, product);
  }
  for (std::size_t first = 0; first < task.n_rows; first += of_down.at_once) {
    ProductTask product = product_of(task.down, task.hidden, nullptr, of_down, first);
    product.bias = task.down_bias;
    product.output = task.output + first * task.down.rows;
    product.output_stride = product.rows;
    add(Phase::kLast, down, of_down.many_rows, product);
  }
  return {};
}

void ProductPlan::add(Phase phase, ProductLaunch launch, bool many_rows, const ProductTask& task) {
  launch.gated = task.up.data != nullptr;
  const auto end = steps_.begin() + static_cast<std::ptrdiff_t>(used_);
  auto step = std::find_if(steps_.begin(), end, [&](const Step& other) {
    return other.phase == phase && other.many_rows == many_rows && same_kind(other.launch, launch);
  });
  if (step == end) {
    if (used_ == steps_.size()) steps_.emplace_back();
    step = steps_.begin() + static_cast<std::ptrdiff_t>(used_++);
    step->launch = launch;
    step->phase = phase;
    step->many_rows = many_rows;
    step->tasks.clear();
  }
  ProductLaunch& all = step->launch;
  all.max_rows = std::max(all.max_rows, task.rows);
  all.max_n_rows = std::max(all.max_n_rows, task.n_rows);
  ++all.n_tasks;
  step->tasks.push_back(task);
}

void ProductPlan::finish() {
  tasks_.clear();
  launches_.clear();
  for (const Phase phase : {Phase::kGates, Phase::kUps, Phase::kLast}) {
    for (const Step& step : std::span(steps_).first(used_)) {
      if (step.phase != phase) continue;
      launches_.push_back(step.launch);
      tasks_.insert(tasks_.end(), step.tasks.begin(), step.tasks.end());
    }
  }
}

cudaError_t launch_product(const ProductLaunch& launch, const ProductTask* tasks,
                           cudaStream_t stream) {
  // A task of many rows has more than a GEMV kernel takes in one piece at least.
  return launch.max_n_rows > kMaxGemvRows ? launch_gemm(launch, tasks, stream)
                                          : launch_gemv(launch, tasks, stream);
}

}  // namespace sluice::cuda

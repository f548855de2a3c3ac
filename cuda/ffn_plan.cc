#include "cuda/ffn_plan.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cuda {
namespace {

constexpr std::uintptr_t kAlignment = 16;

/// A launch with its tasks.
struct Step {
  ProductLaunch launch;
  std::vector<ProductTask> tasks;
};

bool same_kind(const ProductLaunch& a, const ProductLaunch& b) {
  return a.type == b.type && a.columns == b.columns && a.gated == b.gated &&
         a.in_float == b.in_float && a.form == b.form && a.width == b.width;
}

/// What a launch of such weights is, but for the number of its tasks.
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

Result<ProductLaunch> launch_of(const WeightMatrix& weight, const Activations& input,
                                std::string_view name) {
  const bool planes = weight.layout == WeightLayout::kPlanes;
  const std::string what = "the " + std::string(name) + " matrix, " +
                           (planes ? std::string(weight.nested.form->name) + " at " +
                                         std::to_string(weight.nested.width) + " bits"
                                   : std::string(weight.format->name)) +
                           " of " + std::to_string(weight.rows) + " x " +
                           std::to_string(weight.columns);
  if (!has_kernel(weight, input.codes == nullptr)) {
    return Status(ErrorCode::kUnsupported, what + ", has no CUDA kernel");
  }
  if (reinterpret_cast<std::uintptr_t>(weight.data) % kAlignment != 0) {
    return Status(ErrorCode::kInvalidArgument, what + ", is not aligned to 16 bytes");
  }
  return kind_of(weight, input.codes == nullptr);
}

ProductWeight weight_of(const WeightMatrix& matrix) {
  ProductWeight weight = {.data = matrix.data};
  std::ranges::copy(matrix.nested.at, weight.at);
  return weight;
}

/// Adds a task to the step of its kind.
void add(std::vector<Step>& steps, ProductLaunch launch, const ProductTask& task) {
  launch.gated = task.up.data != nullptr;
  auto step = std::ranges::find_if(
      steps, [&](const Step& other) { return same_kind(other.launch, launch); });
  if (step == steps.end()) step = steps.insert(steps.end(), {launch, {}});
  ProductLaunch& all = step->launch;
  all.max_rows = std::max(all.max_rows, task.rows);
  all.max_n_rows = std::max(all.max_n_rows, task.n_rows);
  ++all.n_tasks;
  step->tasks.push_back(task);
}

/// Activations from row `first` on, of which all may be chosen by index.
QuantisedRows quantised_rows(const Activations& rows, std::size_t first) {
  if (rows.codes == nullptr) return {};
  return {rows.codes + first * rows.columns, rows.scales + first * (rows.columns / 32),
          rows.sums + first * (rows.columns / 16)};
}

class Planner {
 public:
  Status add_task(const FfnTask& task) {
    SLUICE_ASSIGN(const ProductLaunch gate, launch_of(task.gate, task.input, "gate"));
    SLUICE_ASSIGN(const ProductLaunch up, launch_of(task.up, task.input, "up"));
    SLUICE_ASSIGN(const ProductLaunch down, launch_of(task.down, task.hidden, "down"));
    for (std::size_t first = 0; first < task.n_rows; first += kMaxGemvRows) {
      add_gate_and_up(task, gate, up, down.in_float, first);
      ProductTask product = task_of(task.down, task.hidden, nullptr, task.n_rows, first);
      product.bias = task.down_bias;
      product.output = task.output + first * task.down.rows;
      product.output_stride = product.rows;
      add(downs_, down, product);
    }
    return {};
  }

  FfnPlan plan() const {
    FfnPlan plan;
    for (const auto* steps : {&gates_, &ups_, &downs_}) {
      for (const Step& step : *steps) {
        plan.launches.push_back(step.launch);
        plan.tasks.insert(plan.tasks.end(), step.tasks.begin(), step.tasks.end());
      }
    }
    return plan;
  }

 private:
  /// One product of rows [first, first + kMaxGemvRows).
  static ProductTask task_of(const WeightMatrix& weight, const Activations& input,
                             const std::uint32_t* row_index, std::size_t n_rows,
                             std::size_t first) {
    ProductTask task;
    task.weight = weight_of(weight);
    const std::size_t first_input = row_index == nullptr ? first : 0;
    task.input = quantised_rows(input, first_input);
    task.values = input.values + first_input * input.columns;
    task.row_index = row_index == nullptr ? nullptr : row_index + first;
    task.rows = static_cast<std::uint32_t>(weight.rows);
    task.n_rows = static_cast<std::uint32_t>(std::min<std::size_t>(kMaxGemvRows, n_rows - first));
    return task;
  }

  /// `in_float`: what becomes of them is wanted in float32, else in 8 bits.
  void add_gate_and_up(const FfnTask& task, const ProductLaunch& gate, const ProductLaunch& up,
                       bool in_float, std::size_t first) {
    ProductTask product = task_of(task.gate, task.input, task.row_index, task.n_rows, first);
    product.bias = task.gate_bias;
    product.output_stride = product.rows;
    float* const values = task.hidden.values + first * task.hidden.columns;
    if (same_kind(gate, up)) {
      product.up = weight_of(task.up);
      product.up_bias = task.up_bias;
    } else {
      product.output = values;
      add(gates_, gate, product);
      product.weight = weight_of(task.up);
      product.bias = task.up_bias;
      product.gate = values;
      product.output = nullptr;
    }
    if (in_float) {
      product.output = values;
    } else {
      product.hidden = quantised_rows(task.hidden, first);
    }
    product.activation = task.activation;
    product.alpha = task.alpha;
    product.limit = task.limit;
    add(same_kind(gate, up) ? gates_ : ups_, up, product);
  }

  std::vector<Step> gates_, ups_, downs_;
};

}  // namespace

bool FfnPlan::takes(const WeightMatrix& weight) {
  return has_kernel(weight, /*in_float=*/false) && has_kernel(weight, /*in_float=*/true);
}

Result<FfnPlan> FfnPlan::of(std::span<const FfnTask> tasks) {
  Planner planner;
  for (const FfnTask& task : tasks) {
    if (task.n_rows != 0) SLUICE_TRY(planner.add_task(task));
  }
  return planner.plan();
}

}  // namespace sluice::cuda

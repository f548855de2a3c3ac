#include <utility>

#include "capi/handles.h"
#include "engine/option_names.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

namespace {

std::string_view or_else(const char* name, const char* usual) {
  return name != nullptr ? name : usual;
}

Result<ModelOptions> model_options(const sluice_model_options& given) {
  ModelOptions made;
  made.context = given.context;
  made.sequences = std::max(1u, given.sessions);
  SLUICE_ASSIGN(made.kv_type, parse_kv_type(or_else(given.kv, "f16")));
  SLUICE_ASSIGN(made.compute_f32, parse_compute(or_else(given.compute, "q8")));
  SLUICE_ASSIGN(made.width, parse_width(or_else(given.width, "exact")));
  if (given.policy != nullptr) made.policy = given.policy;
  if (given.predict != nullptr) made.predict = given.predict;
  if (given.calibration != nullptr) made.calibration = given.calibration;
  made.max_rows = given.max_rows;
  made.tolerance = {.skip = given.skip, .prefer_resident = given.prefer_resident};
  return made;
}

/// The runtime that was made with the budget, or another one.
Result<std::unique_ptr<Runtime>> make_runtime(const Share& share) {
  Budget& budget = share.budget();
  RuntimeOptions options = budget.options;
  options.ram = share.bytes();
  const std::lock_guard lock(budget.mutex);
  if (budget.first != nullptr && budget.first->ram() == options.ram) {
    return std::move(budget.first);
  }
  return Runtime::create(options);
}

Result<std::shared_ptr<OpenModel>> open_model(std::shared_ptr<Budget> budget, const char* path,
                                              const sluice_model_options& given) {
  SLUICE_ASSIGN(ModelOptions options, model_options(given));
  std::atomic<bool> stop = false;
  options.cancel = &stop;
  if (given.progress != nullptr) {
    options.progress = [&](double done) {
      if (given.progress(given.progress_data, done) != 0) stop = true;
    };
  }
  SLUICE_ASSIGN(Share share, Share::take(std::move(budget), given.ram));
  auto made = std::make_shared<OpenModel>(OpenModel{std::move(share), nullptr, nullptr});
  SLUICE_ASSIGN(made->runtime, make_runtime(made->share));
  SLUICE_ASSIGN(made->model, Model::open(*made->runtime, path, options));
  made->share.shrink(std::min(made->share.bytes(), made->model->plan().total()));
  return made;
}

}  // namespace

sluice_status sluice_model_open(sluice_runtime* runtime, const char* path,
                                const sluice_model_options* options, sluice_model** model,
                                sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(runtime, "runtime"));
    SLUICE_TRY(expect(path, "path"));
    SLUICE_TRY(expect(model, "model"));
    SLUICE_ASSIGN(const sluice_model_options given, take_options(options));
    auto handle = std::make_unique<sluice_model>();
    SLUICE_ASSIGN(handle->opened, open_model(runtime->budget, path, given));
    *model = handle.release();
    return {};
  });
}

void sluice_model_destroy(sluice_model* model) { delete model; }

sluice_status sluice_model_get_info(const sluice_model* model, sluice_model_info* info,
                                    sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(model, "model"));
    const Model& opened = *model->opened->model;
    const ModelDescription& description = opened.description();
    const MemoryPlan& plan = opened.plan();
    sluice_model_info known{};
    known.vocabulary = static_cast<std::uint32_t>(description.vocabulary);
    known.context = plan.context;
    known.layers = static_cast<std::uint32_t>(description.layers.size());
    known.hidden = static_cast<std::uint32_t>(description.hidden);
    known.experts = description.router.experts;
    known.experts_used = description.router.top_k;
    known.max_rows = static_cast<std::uint32_t>(opened.max_rows());
    known.has_tokenizer = opened.tokenizer() != nullptr ? 1 : 0;
    known.ram = plan.total();
    known.dense_bytes = plan.dense;
    known.kv_bytes = plan.kv;
    known.scratch_bytes = plan.scratch;
    known.cache_bytes = plan.cache;
    known.expert_bytes = opened.catalogue().total_bytes();
    return give(known, info);
  });
}

sluice_status sluice_model_get_stats(const sluice_model* model, sluice_model_stats* stats,
                                     sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(model, "model"));
    const ModelStatistics all = model->opened->model->statistics();
    sluice_model_stats known{};
    known.expert_requests = all.experts.requests;
    known.expert_hits = all.experts.hits;
    known.expert_loads = all.experts.loads;
    known.expert_bytes_read = all.experts.bytes_read;
    known.expert_wait_seconds = static_cast<double>(all.experts.wait_nanoseconds) * 1e-9;
    known.gpu_experts = all.on_device;
    return give(known, stats);
  });
}

#include <charconv>
#include <utility>

#include "capi/handles.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

namespace {

Result<KvType> kv_type(const char* name) {
  const std::string_view given = name == nullptr ? "f16" : name;
  if (given == "f16") return KvType::kF16;
  if (given == "f32") return KvType::kF32;
  if (given == "q8_0") return KvType::kQ8_0;
  return invalid("unknown kv \"" + std::string(given) + "\": there are f16, f32 and q8_0");
}

Result<bool> computes_f32(const char* name) {
  const std::string_view given = name == nullptr ? "q8" : name;
  if (given == "q8" || given == "f32") return given == "f32";
  return invalid("unknown compute \"" + std::string(given) + "\": there are q8 and f32");
}

Result<unsigned> expert_width(const char* name) {
  const std::string_view given = name == nullptr ? "exact" : name;
  if (given == "exact") return kExactWidth;
  if (given == "auto") return kAutoWidth;
  const std::vector<unsigned> all = expert_widths();
  unsigned bits = 0;
  const auto [end, wrong] = std::from_chars(given.data(), given.data() + given.size(), bits);
  const bool number = wrong == std::errc() && end == given.data() + given.size();
  if (number && std::ranges::find(all, bits) != all.end()) return bits;
  std::string names = "exact, auto";
  for (const unsigned width : all) names += ", " + std::to_string(width);
  return invalid("unknown width \"" + std::string(given) + "\": there are " + names);
}

Result<ModelOptions> model_options(const sluice_model_options& given) {
  ModelOptions made;
  made.context = given.context;
  made.sequences = std::max(1u, given.sessions);
  SLUICE_ASSIGN(made.kv_type, kv_type(given.kv));
  SLUICE_ASSIGN(made.compute_f32, computes_f32(given.compute));
  SLUICE_ASSIGN(made.width, expert_width(given.width));
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

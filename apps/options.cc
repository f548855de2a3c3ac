#include "apps/options.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "apps/cache_folder.h"
#include "apps/cancel.h"
#include "apps/printable.h"
#include "base/size.h"
#include "base/system_memory.h"
#include "cache/cache_policy.h"
#include "engine/option_names.h"
#include "gates/gate_corrections.h"

namespace sluice::apps {
namespace {

/// For CLI11: the mistake that a folder of several files invites.
std::string part_of_a_folder(const std::string& model) {
  const std::filesystem::path path(model);
  std::error_code ignored;
  const bool part = path.extension() == ".safetensors" || path.extension() == ".json";
  if (!part || std::filesystem::is_directory(path, ignored)) return {};
  const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
  return printable(
      fmt::format("{} is part of a Hugging Face folder: give the folder, {}", model, folder));
}

/// A budget beyond what there is holds until it is used: then the kernel ends the process.
void warn_of_ram(std::uint64_t ram) {
  const auto memory = system_memory();
  if (!memory.ok() || ram <= memory->available) return;
  spdlog::warn("--ram {} is more than the {} that this process can get ({}): it may be killed",
               format_size(ram), format_size(memory->available), memory->limited_by);
}

/// Rows that a pass can have.
std::uint32_t most_rows(const CommonOptions& common, const ModelDescription& model) {
  if (common.batch != 0) return common.batch;
  return common.context != 0 ? common.context : std::min(model.context_length, 8192u);
}

/// A matrix that has not so many bits is read with all it has.
void warn_of_width(const CommonOptions& common, const ExpertCatalogue& catalogue) {
  if (common.width == kExactWidth || common.width == kAutoWidth) return;
  const auto [fewest, most] = catalogue.widths_of_planes();
  if (fewest == common.width) return;
  const std::string bits =
      fewest == most ? fmt::format("{}", most) : fmt::format("{} to {}", fewest, most);
  if (most < common.width) {
    spdlog::warn("--width {} is more than the {} bits that the experts have, all of which are read",
                 common.width, most);
  } else {
    spdlog::warn(
        "--width {}: the experts have matrices of {} bits; those that have fewer are read "
        "with all they have",
        common.width, bits);
  }
}

/// Results that are not the model's own say so, whatever --quiet says.
void warn_of_approximations(const Model& model, const ModelOptions& options) {
  const RouteTolerance& tolerance = options.tolerance;
  const ExpertCatalogue& catalogue = model.catalogue();
  if (model.widths() != nullptr) {
    spdlog::warn(
        "results are approximate: --width auto multiplies by the fewest bits of experts that have "
        "at most {:.3g} of a token's weights, and by about one more for each doubling, in {} of {} "
        "layers ({})",
        model.widths()->narrowest(), catalogue.layers_in_planes(), catalogue.layers().size(),
        model.knows_sensitivities()
            ? "more or less as the calibration knows each layer's sensitivity"
            : "alike: no calibration tells how sensitive each is");
  } else if (!catalogue.reads_all()) {
    spdlog::warn(
        "results are approximate: experts' weights have {:.2f} bits on average in {} of {} layers",
        catalogue.mean_bits(), catalogue.layers_in_planes(), catalogue.layers().size());
  }
  if (tolerance.skip != 0) {
    spdlog::warn("results are approximate: --skip {:g} leaves weak experts out ({})",
                 tolerance.skip,
                 model.knows_sensitivities()
                     ? "as much of each layer as its calibration allows"
                     : "of all layers alike: no calibration tells how sensitive each is");
  }
  if (tolerance.prefer_resident != 0) {
    spdlog::warn(
        "results are approximate and not reproducible: with --prefer-resident {:g} they depend on "
        "what is in memory, on --ram and on how fast the disk is",
        tolerance.prefer_resident);
  }
}

}  // namespace

void CommonOptions::add_to(CLI::App& app, bool runs_the_model, Widths how_many) {
  app.add_option("MODEL", model,
                 "A .gguf file (the first of a split set), a Hugging Face folder or a store (.slc)")
      ->required()
      ->check(part_of_a_folder);
  app.add_flag("--json", json, "Write one JSON object to standard output");
  if (!runs_the_model) return;
  add_machine_to(app);
  app.add_option("--kv", kv, "Type of the KV cache")
      ->check(CLI::IsMember({"f32", "f16", "q8_0"}))
      ->capture_default_str();
  app.add_option("--compute", compute,
                 "Activations that meet quantised weights: 8-bit blocks or float32")
      ->check(CLI::IsMember({"q8", "f32"}))
      ->capture_default_str();
  app.add_option("--policy", policy, "Expert cache policy")
      ->check(CLI::IsMember(cache_policy_names()))
      ->capture_default_str();
  app.add_option("--predict", predict, "What foretells the experts that are read ahead")
      ->check(CLI::IsMember(GateForecast::kinds()))
      ->capture_default_str();
  app.add_option("--calibration", calibration,
                 "What 'sluice calibrate' wrote (default: the file beside the model, if there is "
                 "one; \"\": none)");
  add_width_to(app, how_many);
  add_device_to(app);
  app.add_option(
         "--narrow", narrow,
         "With --width auto: experts that have at most this share of a token's weights are "
         "multiplied at the narrowest width, and each doubling of the share adds about a bit. "
         "Where two bits err more than 30 %, the share is so much less "
         "(default: 0.3 / square root of the experts that a token takes)")
      ->check(CLI::Range(1e-6f, 1.0f) & kFinite);
  app.add_option("--batch", batch, "Most rows in one pass (default: as the budget allows)")
      ->check(kUnsigned32);
  app.add_flag("--stats", stats, "Say at the end where time and bytes went (standard error)");
}

void CommonOptions::add_machine_to(CLI::App& app) {
  app.add_option("--ram", ram,
                 "Ceiling for the whole process, such as 512M or 1.5G (default: what is free)")
      ->check([](const std::string& text) {
        const auto bytes = parse_size(text);
        return !bytes.ok()   ? bytes.status().message()
               : *bytes == 0 ? std::string("0 holds nothing")
                             : std::string();
      });
  app.add_option("--threads", threads,
                 "Threads that compute (default: the processors that may be used)")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("--ctx", context, "Positions of the context (default: the model's, at most 8192)")
      ->check(CLI::Range(1u, 1u << 24));
}

void CommonOptions::add_device_to(CLI::App& app) {
  app.add_option(
         "--vram", vram,
         Runtime::knows_gpus()
             ? "Ceiling for what is kept in each GPU's memory (0, the default: none is used)"
             : "Ceiling for what is kept in a GPU's memory: this build uses no GPU, so 0")
      ->check([](const std::string& text) {
        const auto bytes = parse_size(text);
        return bytes.ok() ? std::string() : bytes.status().message();
      });
  if (!Runtime::knows_gpus()) return;
  app.add_option("--placement", placement,
                 "Which experts the GPU computes: auto, gpu-only, cpu-only, or static:N, the N "
                 "that were wanted first")
      ->check([](const std::string& text) {
        const auto parsed = parse_placement(text);
        return parsed.ok() ? std::string() : parsed.status().message();
      })
      ->capture_default_str();
  app.add_option("--gpu-layers", gpu_layers,
                 "Layers, the last ones, of which the GPU computes all but experts, at most "
                 "(default: as many as --vram holds)")
      ->check(CLI::Range(0u, 1u << 20));
  app.add_option("--machine-costs", machine_costs,
                 "What experts take on the CPU and the GPU is measured once and kept in this file; "
                 "auto: in the cache folder; off: it is measured every time")
      ->check(kNamesAFile)
      ->envname("SLUICE_MACHINE_COSTS")
      ->capture_default_str();
}

void CommonOptions::add_width_to(CLI::App& app, Widths how_many) {
  std::vector<std::string> names = {"exact", "auto"};
  for (const unsigned bits : expert_widths()) names.push_back(std::to_string(bits));
  const bool several = how_many == Widths::kSeveral;
  CLI::Option* const option = app.add_option_function<std::vector<std::string>>(
      "--width",
      [this](const std::vector<std::string>& asked) {
        widths.clear();
        for (const std::string& name : asked) widths.push_back(*parse_width(name));
        width = widths.front();
      },
      std::string("Bits of an expert's weights that are read and multiplied, of a store whose "
                  "experts are nested: exact, or APPROXIMATE with fewer; auto: the fewer, the less "
                  "the expert counts for a token (default: exact)") +
          (several ? "; several, as in 2,3,exact: a table" : ""));
  option->check(kListed)->check(CLI::IsMember(names))->option_text("exact|auto|2|3|4|5|6|8");
  several ? option->delimiter(',') : option->expected(1);
}

void CommonOptions::add_trace_to(CLI::App& app) {
  app.add_option("--trace-routing", trace_routing,
                 "Record which experts the routers choose, for 'simulate' and 'bench --routing'");
}

void CommonOptions::add_width_log_to(CLI::App& app) {
  app.add_option("--width-log", width_log,
                 "Write how many bits of its experts each token is multiplied by")
      ->check(kNamesAFile);
  app.add_option_function<std::string>(
         "--width-replay",
         [this](const std::string& path) {
           width_replay = path;
           if (width == kExactWidth) width = kAutoWidth;  // as that was read before
         },
         "Take widths as --width-log wrote them in a run of the same texts, whatever decided then")
      ->check(kNamesAFile);
}

void CommonOptions::add_approximations_to(CLI::App& app) {
  const auto share = CLI::Range(0.0, 1.0) & kFinite;
  app.add_option("--skip", tolerance.skip,
                 "APPROXIMATE: leave out a token's weakest experts, up to this share of its "
                 "experts' weights in a layer, averaged over layers (0: none)")
      ->check(share)
      ->capture_default_str();
  app.add_option("--prefer-resident", tolerance.prefer_resident,
                 "APPROXIMATE, NOT REPRODUCIBLE: in place of an expert that would have to be read "
                 "take one in memory whose router score is lower by at most this share (0: never)")
      ->check(share)
      ->capture_default_str();
}

Result<std::unique_ptr<Runtime>> CommonOptions::create_runtime() const {
  RuntimeOptions options;
  options.threads = threads;
  if (!ram.empty()) {
    auto bytes = parse_size(ram);
    if (!bytes.ok()) return bytes.status().with_context("--ram");
    options.ram = *bytes;
    warn_of_ram(*bytes);
  }
  if (!vram.empty()) {
    SLUICE_ASSIGN(options.vram, parse_size(vram));
  }
  SLUICE_ASSIGN(options.placement, parse_placement(placement));
  options.device_layers = gpu_layers;
  if (gpu_layers.value_or(0) > 0 && options.vram.value_or(0) == 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "--gpu-layers " + std::to_string(*gpu_layers) +
                      ": no memory of a GPU is to be used; say how much of it may be: --vram 6G");
  }
  options.calibrate = true;
  if (machine_costs == "auto") {
    const std::filesystem::path cache = cache_folder();
    if (!cache.empty()) options.machine_costs = (cache / "machine.json").string();
  } else if (machine_costs != "off") {
    options.machine_costs = machine_costs;
  }
  auto runtime = Runtime::create(options);
  if (!runtime.ok() && runtime.status().code() == ErrorCode::kUnsupported && !vram.empty()) {
    return runtime.status().with_context("--vram " + vram);
  }
  return runtime;
}

ModelOptions CommonOptions::model_options() const {
  ModelOptions options;
  options.context = context;
  options.sequences = sequences;
  options.seats = seats;
  options.kv_type = *parse_kv_type(kv);  // these were checked when they were read
  options.compute_f32 = *parse_compute(compute);
  options.max_rows = batch;
  options.policy = policy;
  options.predict = predict;
  options.calibration = calibration;
  options.tolerance = tolerance;
  options.narrow = narrow;
  options.cancel = &cancel_requested();
  return options;
}

Status OpenedModel::open_records(CommonOptions& common, const Checkpoint& checkpoint) {
  RunFiles& files = common.files;
  files.add(checkpoint);
  files.add(common.calibration.value_or(GateCorrections::default_path(checkpoint)),
            common.calibration ? "what --calibration names" : "the calibration of the model");
  if (!common.width_replay.empty()) {
    SLUICE_ASSIGN(width_replay, WidthReplay::open(common.width_replay));
    files.add(common.width_replay, "what --width-replay names");
  }
  if (!common.trace_routing.empty()) {
    SLUICE_ASSIGN(recorder, RoutingRecorder::create(common.trace_routing, files));
    files.add(common.trace_routing, "what --trace-routing names");
  }
  if (!common.width_log.empty()) {
    SLUICE_ASSIGN(width_log, WidthRecorder::create(common.width_log, files));
    files.add(common.width_log, "what --width-log names");
  }
  return {};
}

Status OpenedModel::attach_records(std::uint32_t top_k) {
  if (recorder != nullptr) SLUICE_TRY(recorder->attach(*model, top_k));
  if (width_log != nullptr) SLUICE_TRY(width_log->attach(*model));
  if (width_replay != nullptr) SLUICE_TRY(width_replay->attach(*model));
  return {};
}

Status OpenedModel::finish() {
  const Status logged = width_log == nullptr ? Status() : width_log->finish();
  const Status recorded = recorder == nullptr ? Status() : recorder->finish();
  return recorded.ok() ? logged : recorded;
}

Status check_narrow(const CommonOptions& common) {
  if (!common.narrow || common.width == kAutoWidth) return {};
  return Status(ErrorCode::kInvalidArgument,
                "--narrow says how --width auto chooses, which is not asked for");
}

Status check_width(const CommonOptions& common, const ModelOutline& outline) {
  if (!common.width_replay.empty() && (common.narrow || common.width != kAutoWidth)) {
    return Status(ErrorCode::kInvalidArgument,
                  "--width-replay says which widths experts have: leave --width and --narrow out");
  }
  SLUICE_TRY(check_narrow(common));
  if (common.width == kExactWidth || outline.catalogue.layers_in_planes() != 0) return {};
  return Status(ErrorCode::kInvalidArgument,
                fmt::format("{}: --width {}: its experts have no width but their own. 'sluice pack "
                            "MODEL --nested --out FILE.slc' makes a store in which they have",
                            common.model,
                            common.width == kAutoWidth ? "auto" : std::to_string(common.width)));
}

Result<ModelOutline> open_outline(const CommonOptions& common) {
  SLUICE_ASSIGN(ModelOutline outline, ModelOutline::open(common.model, common.width));
  SLUICE_TRY(check_width(common, outline));
  warn_of_width(common, outline.catalogue);
  return outline;
}

Result<OpenedModel> open_model(CommonOptions& common, const OutlineCheck& check) {
  OpenedModel opened;
  SLUICE_ASSIGN(opened.runtime, common.create_runtime());
  ModelOptions model_options = common.model_options();
  SLUICE_ASSIGN(ModelOutline outline, open_outline(common));
  if (check) SLUICE_TRY(check(outline));
  SLUICE_TRY(opened.open_records(common, outline.checkpoint));
  if (opened.width_log != nullptr || opened.width_replay != nullptr) {
    model_options.reserved = width_log_bytes(outline, most_rows(common, outline.description));
  }
  SLUICE_ASSIGN(opened.model, load_model(*opened.runtime, std::move(outline), model_options));
  const MemoryPlan& plan = opened.model->plan();
  spdlog::info("{}: {} of RAM: {} dense, {} KV cache ({} positions), {} for {} of experts; {}",
               common.model, format_size(opened.runtime->ram()), format_size(plan.dense),
               format_size(plan.kv), plan.context, format_size(plan.cache),
               format_size(opened.model->catalogue().total_bytes()),
               opened.runtime->compute().name());
  warn_of_context(plan.context, opened.model->description());
  if (const std::string& unused = opened.model->unused_calibration(); !unused.empty()) {
    spdlog::warn("{}; going on without it", unused);
  }
  SLUICE_TRY(opened.attach_records(opened.model->description().router.top_k));
  return opened;
}

Result<std::unique_ptr<Model>> load_model(Runtime& runtime, ModelOutline outline,
                                          const ModelOptions& options) {
  auto model = Model::open(runtime, std::move(outline), options);
  if (model.ok()) warn_of_approximations(**model, options);
  if (model.status().code() != ErrorCode::kBudget) return model;
  return Status(ErrorCode::kBudget, model.status().message() +
                                        " (--ram is the budget, --ctx the context, --kv the "
                                        "type of its cache)");
}

void warn_of_context(std::uint32_t context, const ModelDescription& model) {
  if (context <= model.context_length) return;
  spdlog::warn(
      "a context of {} is beyond the {} positions that the model was made for: what it "
      "writes there may make no sense",
      context, model.context_length);
}

Status check_context(std::size_t tokens, const Model& model) {
  if (tokens <= model.plan().context) return {};
  return Status(ErrorCode::kInvalidArgument,
                fmt::format("{} tokens are wanted and the context holds {}: open a larger one "
                            "(--ctx) or ask for fewer",
                            tokens, model.plan().context));
}

Status check_logits(std::span<const float> logits, std::size_t position, const Model& model) {
  const auto finite = [](float logit) { return std::isfinite(logit); };
  if (std::all_of(logits.begin(), logits.end(), finite)) return {};
  return damaged(Status(ErrorCode::kCorrupt,
                        fmt::format("the logits at position {} are not numbers", position)),
                 model);
}

Status damaged(const Status& status, const Model& model) {
  if (status.code() != ErrorCode::kCorrupt) return status;
  const std::string& file = model.checkpoint().files.front();
  return Status(ErrorCode::kCorrupt,
                fmt::format("{}: {}: the file may be damaged; 'sluice check' looks at every weight "
                            "and names what is wrong",
                            file, status.message()));
}

Result<std::vector<TokenId>> parse_ids(const std::string& text) {
  std::vector<TokenId> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    TokenId id = 0;
    const auto [rest, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0 || (rest != end && *rest != ',') || rest + 1 == end) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' is not a list of token ids such as 1,2,3 (at character {})",
                                text, at - text.data() + 1));
    }
    ids.push_back(id);
    at = rest == end ? rest : rest + 1;
  }
  return ids;
}

}  // namespace sluice::apps

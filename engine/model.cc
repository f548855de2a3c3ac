#include "engine/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>

#include <algorithm>
#include <charconv>

#include "base/cancellation.h"
#include "engine/skip_sensitivity.h"
#include "formats/header_reader.h"
#include "formats/safetensors.h"

namespace sluice {
namespace {

/// What a tokenizer keeps for `data`: the texts, hash tables over tokens and merges, character
/// maps.
std::uint64_t estimate_tokenizer_bytes(const TokenizerData& data) {
  constexpr std::uint64_t kTokenBytes = 36, kMergeBytes = 28;  // with their texts, if these are …
  constexpr std::size_t kUsualText = 32;                       // … no longer than this
  std::uint64_t bytes = data.tokens.size() * kTokenBytes + data.merges.size() * kMergeBytes;
  for (const NormalizeStep& step : data.normalize) bytes += step.content.size();
  for (const StringTable* table : {&data.tokens, &data.merges}) {
    for (std::size_t i = 0; i < table->size(); ++i) {
      const std::size_t length = (*table)[i].size();
      bytes += length > kUsualText ? length - kUsualText : 0;
    }
  }
  return bytes;
}

/// The bytes of a calibration, read later when there are weights to hold it against: what is none
/// is refused as such before its size counts. kNotFound: nothing is there.
Result<std::uint64_t> calibration_bytes(const std::string& path, const ModelDescription& model) {
  Status status = read_safetensors(path, 0, [](const SafetensorsTensor&) { return Status(); });
  std::uint64_t bytes = 0;
  if (status.ok()) {
    const auto file = open_whole_file(path, GateCorrections::most_bytes(model));
    if (file.ok()) bytes = file->file_size();
    status = file.status();
  }
  if (status.ok()) return bytes;
  const bool missing = status.code() == ErrorCode::kNotFound;
  return Status(status.code(),
                fmt::format("{}: {}: 'sluice calibrate' makes one", status.message(),
                            missing ? "there is no calibration" : "that is no calibration"));
}

/// Scratch is sized by the settings and kernels go by the tensors: both must say the same.
Status check_experts(const ModelDescription& model, const ExpertCatalogue& catalogue) {
  for (std::uint32_t i = 0; i < model.layers.size(); ++i) {
    const ExpertLayer* layer = catalogue.find(i);
    if ((layer != nullptr) != model.layers[i].sparse) {
      return Status(
          ErrorCode::kCorrupt,
          fmt::format("layer {} has {} but {}", i, layer != nullptr ? "experts" : "a router",
                      layer != nullptr ? "no router" : "no experts"));
    }
    if (layer == nullptr) continue;
    if (layer->experts != model.router.experts || layer->ffn != model.expert_ffn ||
        layer->hidden != model.hidden) {
      return Status(
          ErrorCode::kCorrupt,
          fmt::format("layer {} has {} experts of {} x {}; the settings say {} of {} x {}", i,
                      layer->experts, layer->ffn, layer->hidden, model.router.experts,
                      model.expert_ffn, model.hidden));
    }
  }
  return {};
}

/// A layer count below what the file has would run, and be wrong.
Status check_layers(const Checkpoint& checkpoint, const ModelDescription& model) {
  for (const auto& [name, tensor] : checkpoint.tensors) {
    constexpr std::string_view kLayer = "blk.";
    if (!name.starts_with(kLayer)) continue;
    std::size_t index = 0;
    std::from_chars(name.data() + kLayer.size(), name.data() + name.size(), index);
    if (index >= model.layers.size()) {
      return Status(ErrorCode::kCorrupt,
                    fmt::format("the settings say {} layers, yet there is a tensor '{}'",
                                model.layers.size(), name));
    }
  }
  return {};
}

/// What an approximation cannot do to these routers is an error, and not silently nothing.
Status check_tolerance(const RouteTolerance& tolerance, const RouterDescription& router) {
  const auto refuse = [](std::string why) {
    return Status(ErrorCode::kInvalidArgument, std::move(why));
  };
  for (const float share : {tolerance.skip, tolerance.prefer_resident}) {
    if (!(share >= 0 && share <= 1)) {
      return refuse(fmt::format("a tolerance of {} is not between 0 and 1", share));
    }
  }
  if (tolerance.skip != 0 && router.top_k < 2) {
    return refuse(fmt::format("no expert can be skipped: a token of this model takes {}",
                              router.top_k == 0 ? "none" : "one"));
  }
  const bool alone =
      router.groups == RouterGroups::kOneEach && router.experts == router.group_count;
  if (tolerance.prefer_resident != 0 && (router.experts <= router.top_k || alone)) {
    return refuse("no resident expert can be preferred: a token of this model takes all there are");
  }
  return {};
}

/// A model whose texts cannot be read still computes from ids.
Status take_tokenizer(TokenizerData data, ModelOutline& outline) {
  const std::uint64_t bytes = estimate_tokenizer_bytes(data);
  auto created = Tokenizer::create(std::move(data));
  if (!created.ok() && created.status().code() == ErrorCode::kUnsupported) {
    outline.no_tokenizer = created.status().message();
    return {};
  }
  SLUICE_ASSIGN(outline.tokenizer, std::move(created));
  outline.tokenizer_bytes = bytes;
  const std::size_t tokens = outline.tokenizer->size();
  if (tokens <= outline.description.vocabulary) return {};
  return Status(ErrorCode::kCorrupt,
                fmt::format("the vocabulary has {} tokens and the embedding only {}", tokens,
                            outline.description.vocabulary));
}

}  // namespace

Result<ModelOutline> ModelOutline::open(const std::string& path, unsigned width) {
  SLUICE_ASSIGN(Checkpoint checkpoint, open_checkpoint(path));
  return from(std::move(checkpoint), width);
}

Result<ModelOutline> ModelOutline::from(Checkpoint checkpoint, unsigned width) {
  ModelOutline outline;
  outline.checkpoint = std::move(checkpoint);
  SLUICE_ASSIGN(outline.description, ModelDescription::from(outline.checkpoint));
  SLUICE_ASSIGN(outline.catalogue, ExpertCatalogue::build(outline.checkpoint, width));
  SLUICE_TRY(check_experts(outline.description, outline.catalogue));
  SLUICE_TRY(check_layers(outline.checkpoint, outline.description));
  SLUICE_ASSIGN(outline.dense_bytes, DenseWeights::bytes(outline.checkpoint, outline.description));
  SLUICE_TRY(take_tokenizer(std::exchange(outline.checkpoint.tokenizer, {}), outline));
  // What parsing took goes back to the system before the large buffers come.
  malloc_trim(0);
  return outline;
}

Result<MemoryPlan> ModelOutline::plan(std::uint64_t ram, Runtime& runtime,
                                      const ModelOptions& options) const {
  const std::vector<std::string> kinds = GateForecast::kinds();
  if (std::ranges::find(kinds, options.predict) == kinds.end()) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("unknown predictor \"{}\": there are {}", options.predict,
                              fmt::join(kinds, ", ")));
  }
  for (const LayerDescription& layer : description.layers) {
    if (options.kv_type != KvType::kQ8_0 || layer.recurrent) continue;
    const AttentionShape heads = attention_shape(layer.attention, options.kv_type);
    if (heads.head_dim % 32 == 0 && heads.value_dim % 32 == 0) continue;
    return Status(
        ErrorCode::kUnsupported,
        fmt::format(
            "a q8_0 KV cache needs heads of a multiple of 32, and this model's have {}; use f16",
            heads.head_dim));
  }
  const std::uint64_t for_devices =
      Devices::host_bytes(description, catalogue, runtime.device_set());
  return MemoryPlan::make(
      description, catalogue, runtime.compute(), runtime.reader(),
      {.ram = ram,
       .reserved =
           options.reserved + GateForecast::bytes(description, options.predict) + for_devices,
       .context = options.context,
       .sequences = options.sequences,
       .seats = options.most_sessions(),
       .kv_type = options.kv_type,
       .eight_bit = !options.compute_f32,
       .threads = runtime.threads(),
       .tokenizer_bytes = tokenizer_bytes,
       .dense_bytes = dense_bytes});
}

Result<std::vector<FileIndex>> open_files(const Checkpoint& checkpoint, BlockReader& reader) {
  std::vector<FileIndex> files;
  for (const std::string& path : checkpoint.files) {
    SLUICE_ASSIGN(const FileIndex file, reader.open(path));
    files.push_back(file);
  }
  return files;
}

Result<std::unique_ptr<Model>> Model::open(Runtime& runtime, const std::string& path,
                                           const ModelOptions& options) {
  SLUICE_ASSIGN(ModelOutline outline, ModelOutline::open(path, options.width));
  return open(runtime, std::move(outline), options);
}

Result<std::unique_ptr<Model>> Model::open(Runtime& runtime, ModelOutline outline,
                                           const ModelOptions& options) {
  SLUICE_TRY(check_cancelled(options.cancel));
  SLUICE_TRY(check_tolerance(options.tolerance, outline.description.router));
  std::unique_ptr<Model> model(new Model(runtime, std::move(outline)));
  model->policy_ = options.policy;
  model->predict_ = options.predict;
  const ModelDescription& description = model->outline_.description;
  SLUICE_ASSIGN(const std::vector<FileIndex> files,
                open_files(model->checkpoint(), runtime.reader()));
  SLUICE_TRY(model->make_plan(options));
  if (options.max_rows != 0) model->plan_.rows = std::min(model->plan_.rows, options.max_rows);

  runtime.compute().limit_threads(model->plan_.threads);
  const std::uint64_t read_before = runtime.reader().counters().bytes;
  SLUICE_ASSIGN(model->weights_,
                DenseWeights::load(model->checkpoint(), description, runtime.reader(), files,
                                   options.cancel, options.progress));
  model->dense_bytes_read_ = runtime.reader().counters().bytes - read_before;
  SLUICE_TRY(model->read_corrections(options));
  if (options.tolerance.any()) {
    model->relaxation_.emplace(
        description.router,
        skip_limits(options.tolerance.skip, description, model->corrections_.sensitivities()),
        options.tolerance.prefer_resident);
  }
  model->narrow_ = options.narrow;
  if (model->outline_.catalogue.most_parts() > 1) {
    model->widths_.emplace(
        model->outline_.catalogue,
        skip_limits(model->narrow(), description, model->corrections_.sensitivities()));
  }
  if (GateForecast::bytes(description, options.predict) > 0) {
    SLUICE_ASSIGN(model->copies_,
                  RouterCopies::make(description, model->weights_.layers(), runtime.compute()));
  }
  model->open_devices(options);
  SLUICE_TRY(model->weights_.repack(runtime.compute(), options.cancel));
  SLUICE_ASSIGN(model->store_,
                ExpertStore::create(model->outline_.catalogue, runtime.reader(),
                                    {.capacity_bytes = model->plan_.cache,
                                     .policy = options.policy,
                                     .files = files,
                                     .sparse_hidden = description.activation == Activation::kRelu,
                                     .judge_guesses = options.predict == "auto",
                                     .elsewhere = [devices = model->devices_.get()](ExpertId id) {
                                       return devices->has(id);
                                     }}));
  const MemoryPlan& plan = model->plan_;
  SLUICE_ASSIGN(model->kv_, KvPool::create(kv_shape(description, options.kv_type),
                                           KvShape::blocks(plan.context) * options.sequences,
                                           options.most_sessions()));
  SLUICE_TRY(model->open_pass(options));
  return model;
}

void Model::open_devices(const ModelOptions& options) {
  devices_ = Devices::create(checkpoint(), description(), weights_, catalogue(),
                             runtime_.device_set(), runtime_.compute(),
                             {.policy = options.policy,
                              .rows = plan_.rows,
                              .context = plan_.context,
                              .sequences = options.sequences,
                              .seats = options.most_sessions(),
                              .kv_type = options.kv_type,
                              .eight_bit = !options.compute_f32,
                              .threads = plan_.threads,
                              .spare = plan_.cache});
  plan_.rows = devices_->max_rows(plan_.rows);
}

Status Model::open_pass(const ModelOptions& options) {
  const auto make = [&] {
    return ForwardPass::create(
        description(), weights_, runtime_.compute(), *store_, options.kv_type, plan_.context,
        {.rows = plan_.rows,
         .eight_bit = !options.compute_f32,
         .attention_bytes = attention_bytes(description(), options.kv_type, runtime_.compute(),
                                            plan_.context, plan_.threads)},
        {options.predict, copies_, corrections_}, *devices_);
  };
  auto pass = make();
  if (!pass.ok() && devices_->pinning() != nullptr) {
    devices_->leave(pass.status());
    pass = make();
  }
  SLUICE_ASSIGN(pass_, std::move(pass));
  return {};
}

/// With room for corrections; where that is too much and nobody asked for them, without. What is
/// skipped, and how many bits experts have, goes by them: then to go on without would make results
/// depend on the budget.
Status Model::make_plan(const ModelOptions& options) {
  const std::string path =
      options.calibration.value_or(GateCorrections::default_path(checkpoint()));
  const bool decides = options.tolerance.skip != 0 || outline_.catalogue.most_parts() > 1;
  std::uint64_t size = 0;
  if (!path.empty() && (options.predict != "off" || decides)) {
    const auto bytes = calibration_bytes(path, description());
    if (bytes.ok()) {
      size = *bytes;
    } else if (options.calibration) {
      return bytes.status();
    } else if (bytes.status().code() != ErrorCode::kNotFound) {
      unused_calibration_ = bytes.status().message();
    }
  }
  if (size != 0) {
    ModelOptions more = options;
    more.reserved += size;
    auto plan = outline_.plan(runtime_.ram(), runtime_, more);
    if (plan.ok() || options.calibration) {
      SLUICE_ASSIGN(plan_, std::move(plan));
      calibration_ = path;
      return {};
    }
    if (decides) {
      return Status(plan.status().code(),
                    fmt::format("{}; part of that are the {} bytes of {}, which {} by",
                                plan.status().message(), size, path,
                                options.tolerance.skip != 0 ? "skipping goes" : "widths go"));
    }
    unused_calibration_ = fmt::format("{}: the budget has no room for its {} bytes", path, size);
  }
  SLUICE_ASSIGN(plan_, outline_.plan(runtime_.ram(), runtime_, options));
  return {};
}

Status Model::read_corrections(const ModelOptions& options) {
  if (calibration_.empty()) return {};
  auto read = GateCorrections::read(calibration_, description(), weights_.layers());
  if (read.ok()) {
    corrections_ = std::move(*read);
  } else if (options.calibration) {
    return read.status();
  } else {
    unused_calibration_ = read.status().message();
  }
  return {};
}

bool Model::warm_up() {
  const std::lock_guard lock(step_mutex_);
  return store_->warm_up();
}

Status Model::step(std::span<const Row> rows, const PassOptions& options, const LogitsSink& sink) {
  const std::lock_guard lock(step_mutex_);
  PassOptions pass = options;
  if (pass.relaxation == nullptr && relaxation_ && !pass.exact) pass.relaxation = &*relaxation_;
  if (pass.widths == nullptr && widths_ && !pass.exact) pass.widths = &*widths_;
  Status status = pass_->run(rows, pass, sink);
  const auto devices = devices_->statistics();
  const std::lock_guard statistics_lock(statistics_mutex_);
  statistics_ = {store_->statistics(), devices ? devices->on_device : 0};
  return status;
}

ModelStatistics Model::statistics() const {
  const std::lock_guard lock(statistics_mutex_);
  return statistics_;
}

}  // namespace sluice

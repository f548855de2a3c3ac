// sluice info: what a checkpoint is and what it needs. Reads no weights.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "apps/budget.h"
#include "apps/options.h"
#include "apps/printable.h"
#include "apps/report.h"
#include "apps/warm_file.h"
#include "base/size.h"

namespace sluice::apps {
namespace {

bool lacks_planes(const NestedRanges& nested) {
  return std::ranges::any_of(nested.groups,
                             [](const FileRange& group) { return group.bytes == 0; });
}

std::string type_name(const TensorInfo& tensor) {
  // Of floats that were dropped the planes are another code, as they are where some are missing; a
  // source's integers they are.
  const bool planes = tensor.nested && tensor.ranges.empty();
  if (planes && (tensor.nested->form->fitted || lacks_planes(*tensor.nested))) {
    return std::string(tensor.nested->form->name);
  }
  const bool coded = tensor.stored && tensor.stored->code == StoredCode::kF8E4M3;
  const TensorFormat* format = find_tensor_format(coded ? TensorType::kF8_E4M3 : tensor.type);
  return format != nullptr ? std::string(format->name)
                           : fmt::format("type {}", static_cast<std::uint32_t>(tensor.type));
}

/// What can be said of any checkpoint, known architecture or not.
nlohmann::json checkpoint_json(const Checkpoint& checkpoint) {
  std::map<std::string, std::uint64_t> types;
  std::uint64_t bytes = 0, parameters = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    ++types[type_name(tensor)];
    bytes += tensor.bytes();
    parameters += tensor.elements();
    if (!tensor.nested) continue;
    for (const FileRange& group : tensor.nested->groups) bytes += group.bytes;
  }
  return {{"architecture", checkpoint.architecture},
          {"container", checkpoint.container},
          {"files", checkpoint.files},
          {"tensors", checkpoint.tensors.size()},
          {"types", types},
          {"bytes", bytes},
          {"parameters", parameters}};
}

nlohmann::json description_json(const ModelDescription& model) {
  std::size_t sparse = 0, recurrent = 0;
  AttentionDescription attention;  // of the last layer that has any
  for (const LayerDescription& layer : model.layers) {
    sparse += layer.sparse ? 1 : 0;
    recurrent += layer.recurrent ? 1 : 0;
    if (!layer.recurrent) attention = layer.attention;
  }
  return {{"name", model.name},
          {"layers", model.layers.size()},
          {"sparse_layers", sparse},
          {"recurrent_layers", recurrent},
          {"hidden", model.hidden},
          {"heads", attention.heads},
          {"kv_heads", attention.kv_heads},
          {"head_dim", attention.head_dim},
          {"experts", model.router.experts},
          {"experts_per_token", model.router.top_k},
          {"expert_ffn", model.expert_ffn},
          {"vocabulary", model.vocabulary},
          {"context_length", model.context_length}};
}

/// The widths that --width makes something else of, and an expert's bits on average at each; empty
/// where nothing is nested.
Result<nlohmann::json> widths_json(const Checkpoint& checkpoint) {
  nlohmann::json widths = nlohmann::json::array();
  double last = 0;
  for (const unsigned width : expert_widths()) {
    SLUICE_ASSIGN(const ExpertCatalogue catalogue, ExpertCatalogue::build(checkpoint, width));
    const double bits = catalogue.mean_bits();
    if (catalogue.layers_in_planes() == 0 || bits == last) continue;
    widths.push_back({{"width", width}, {"mean_bits", bits}});
    last = bits;
  }
  return widths;
}

/// Memory and reader, once the model is understood.
Status add_needs(const CommonOptions& common, const ModelOutline& outline, nlohmann::json& json) {
  SLUICE_ASSIGN(const std::unique_ptr<Runtime> runtime, common.create_runtime());
  SLUICE_ASSIGN(const std::vector<FileIndex> files,
                open_files(outline.checkpoint, runtime->reader()));
  SLUICE_ASSIGN(const nlohmann::json budget, budget_json(outline, *runtime, common));
  json.update(budget);
  const ReaderInfo reader = runtime->reader().info();
  json["description"] = description_json(outline.description);
  json["tokenizer"] = outline.tokenizer != nullptr
                          ? fmt::format("{} tokens", outline.tokenizer->size())
                          : "none: " + outline.no_tokenizer;
  SLUICE_ASSIGN(json["widths"], widths_json(outline.checkpoint));
  SLUICE_ASSIGN(const ExpertCatalogue widest, ExpertCatalogue::build(outline.checkpoint));
  json["resting"] = resting_json(widest.resting_widths());
  json["reader"] = {{"name", reader.name},
                    {"why", reader.why},
                    {"direct", reader.direct},
                    {"depth", reader.depth}};
  json["compute"] = runtime->compute().name();
  return {};
}

/// Where the hot set is, and how many experts it names so far.
void add_warm(const std::string& option, const std::string& model, const ModelOutline& outline,
              nlohmann::json& json) {
  const WarmFile file(option, model, outline.checkpoint);
  json["warm"] = nlohmann::json::object();
  if (file.path().empty()) return;
  const auto hot = read_hot_set(file.path(), file.fingerprint(), outline.catalogue);
  json["warm"] = {{"file", file.path()}, {"experts", hot.ok() ? hot->experts.size() : 0}};
}

void print_text(const nlohmann::json& json) {
  const auto line = [](const char* label, const std::string& value) {
    fmt::print("{:<16}{}\n", label, printable(value));
  };
  const auto size = [](const nlohmann::json& bytes) {
    return format_size(bytes.get<std::uint64_t>());
  };
  line("architecture", json["architecture"]);
  line("container",
       fmt::format("{}, {} file(s), {} tensors, {:.2f} billion parameters",
                   json["container"].get<std::string>(), json["files"].size(),
                   json["tensors"].get<std::size_t>(), json["parameters"].get<double>() / 1e9));
  std::vector<std::string> types;
  for (const auto& [name, count] : json["types"].items())
    types.push_back(fmt::format("{} x {}", name, count.get<std::size_t>()));
  line("types", fmt::format("{}", fmt::join(types, ", ")));
  if (json.contains("unsupported")) {
    line("not run", json["unsupported"]);
    return;
  }
  const auto& model = json["description"];
  line("name", model["name"]);
  line("layers",
       fmt::format("{} ({} with routed experts), hidden {}, heads {}/{} of {}",
                   model["layers"].dump(), model["sparse_layers"].dump(), model["hidden"].dump(),
                   model["heads"].dump(), model["kv_heads"].dump(), model["head_dim"].dump()));
  line("experts", fmt::format("{} a layer, {} a token, {} wide", model["experts"].dump(),
                              model["experts_per_token"].dump(), model["expert_ffn"].dump()));
  line("vocabulary", model["vocabulary"].dump());
  line("tokenizer", json["tokenizer"]);
  line("context", fmt::format("{} (opened: {})", model["context_length"].dump(),
                              json["plan"]["context"].dump()));
  line("dense weights", size(json["dense_bytes"]));
  line("expert weights", fmt::format("{}, {:.2f} bits a weight", size(json["expert_bytes"]),
                                     json["mean_bits"].get<double>()));
  if (const auto& widths = json["widths"]; !widths.empty()) {
    line("widths", fmt::format("{:.2f} to {:.2f} bits a weight (nested: --width {} to {})",
                               widths.front()["mean_bits"].get<double>(),
                               widths.back()["mean_bits"].get<double>(),
                               widths.front()["width"].dump(), widths.back()["width"].dump()));
  }
  if (const auto& resting = json["resting"]; resting.size() > 1) {
    line("resting", resting_words(resting));
  }
  line("min_ram", fmt::format("{} ({} bytes)", size(json["min_ram"]), json["min_ram"].dump()));
  const auto& plan = json["plan"];
  line("plan",
       fmt::format("of {}: {} KV cache, {} scratch, {} for experts{}", size(plan["ram"]),
                   size(plan["kv"]), size(plan["scratch"]), size(plan["expert_cache"]),
                   plan["fits"].get<bool>() ? "" : " (does not fit: the smallest plan is shown)"));
  const auto& reader = json["reader"];
  line("reader", fmt::format("{}{}: {}", reader["name"].get<std::string>(),
                             reader["direct"].get<bool>() ? ", direct" : ", buffered",
                             reader["why"].get<std::string>()));
  line("compute", json["compute"]);
  const auto& warm = json["warm"];
  line("hot set", warm.empty() ? "none is kept"
                               : fmt::format("{} experts in {}", warm["experts"].dump(),
                                             warm["file"].get<std::string>()));
}

struct InfoOptions {
  CommonOptions common;
  std::string warm = "auto";
};

Status info(const InfoOptions& options) {
  const CommonOptions& common = options.common;
  SLUICE_ASSIGN(Checkpoint checkpoint, open_checkpoint(common.model));
  nlohmann::json json = checkpoint_json(checkpoint);
  auto outline = ModelOutline::from(std::move(checkpoint), common.width);
  if (outline.ok()) {
    SLUICE_TRY(check_width(common, *outline));
    SLUICE_TRY(add_needs(common, *outline, json));
    add_warm(options.warm, common.model, *outline, json);
  } else {
    json["unsupported"] = outline.status().message();
  }
  if (common.json) {
    print_json(json);
  } else {
    print_text(json);
  }
  return {};
}

}  // namespace

Verb add_info(CLI::App& root) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* app = root.add_subcommand("info", "What a checkpoint is, and the memory that it needs");
  options->common.add_to(*app, true);
  WarmFile::add_to(*app, options->warm);
  return {app, [options] { return info(*options); }};
}

}  // namespace sluice::apps

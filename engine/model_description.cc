#include "engine/model_description.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <set>

#include "formats/settings.h"

namespace sluice {
namespace {

/// Bounds that no model comes near; they keep every later product inside 64 bits.
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxWidth = 1 << 24;

/// Reads settings one after the other and remembers the first that was wrong, so that a description
/// reads as a list of fields.
class SettingReader {
 public:
  explicit SettingReader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  std::uint32_t required(std::string_view key, std::int64_t most = kMaxWidth) {
    auto value = whole(key, most);
    if (!value && status_.ok()) fail(fmt::format("the setting '{}' is missing", key));
    return value.value_or(0);
  }
  std::uint32_t optional(std::string_view key, std::uint32_t otherwise, std::int64_t least = 0) {
    return whole(key, kMaxWidth, least).value_or(otherwise);
  }
  double number(std::string_view key, double otherwise) {
    const auto value = optional_number(key);
    return value.value_or(otherwise);
  }
  std::optional<double> optional_number(std::string_view key) {
    asked_.insert(key);
    auto value = take(checkpoint_.real(key));
    if (value && !std::isfinite(*value)) {
      fail(fmt::format("the setting '{}' is not finite", key));
      return std::nullopt;
    }
    return value;
  }
  bool flag(std::string_view key, bool otherwise) {
    asked_.insert(key);
    return take(checkpoint_.boolean(key)).value_or(otherwise);
  }
  std::string word(std::string_view key, const std::string& otherwise) {
    asked_.insert(key);
    return take(checkpoint_.text(key)).value_or(otherwise);
  }
  std::optional<std::vector<std::int64_t>> list(std::string_view key) {
    asked_.insert(key);
    return take(checkpoint_.integers(key));
  }

  /// What a checkpoint says and nobody has asked for is not computed: better not to run it at all.
  void refuse_what_was_not_asked() {
    for (const std::string_view key : kSaidByTensors) asked_.insert(key);
    for (const SettingRule& rule : setting_rules()) {
      const auto found = checkpoint_.settings.find(rule.key);
      if (found == checkpoint_.settings.end() || asked_.contains(rule.key)) continue;
      if (rule.key.starts_with("sampling.") || setting_text(found->second) == rule.plain) continue;
      fail(fmt::format("the setting '{}' ({}) is not one that this version runs", rule.key,
                       setting_text(found->second)),
           ErrorCode::kUnsupported);
    }
    for (const auto& [name, tensor] : checkpoint_.tensors) {
      if (tensor.stored || (tensor.shape.size() < 3 && tensor.ranges.size() > 1)) {
        fail(fmt::format(
                 "the tensor '{}' lies in the file in a way that this version does not read", name),
             ErrorCode::kUnsupported);
      }
    }
  }

  void fail(const std::string& message, ErrorCode code = ErrorCode::kCorrupt) {
    if (!status_.ok()) return;
    const std::string file = checkpoint_.files.empty() ? "" : checkpoint_.files.front() + ": ";
    status_ = Status(code, file + message);
  }
  const Status& status() const { return status_; }

 private:
  template <typename T>
  std::optional<T> take(Result<std::optional<T>> result) {
    if (!result.ok()) {
      fail(result.status().message(), result.status().code());
      return std::nullopt;
    }
    return std::move(result).value();
  }
  std::optional<std::uint32_t> whole(std::string_view key, std::int64_t most,
                                     std::int64_t least = 1) {
    asked_.insert(key);
    const auto value = take(checkpoint_.integer(key));
    if (!value) return std::nullopt;
    if (*value < least || *value > most) {
      fail(fmt::format("the setting '{}' is {}, outside {} to {}", key, *value, least, most));
      return std::nullopt;
    }
    return static_cast<std::uint32_t>(*value);
  }

  static constexpr std::string_view kSaidByTensors[] = {
      "expert_layers", "expert_shared_feed_forward_length", "feed_forward_length", "vocab_size"};

  const Checkpoint& checkpoint_;
  std::set<std::string_view> asked_;
  Status status_;
};

AttentionDescription read_attention(SettingReader& settings, std::uint32_t hidden) {
  AttentionDescription attention;
  attention.heads = settings.required("attention.head_count");
  attention.kv_heads = settings.optional("attention.head_count_kv", attention.heads, 1);
  if (attention.heads == 0 || attention.kv_heads == 0) return attention;
  if (attention.heads % attention.kv_heads != 0) {
    settings.fail(fmt::format("{} query heads cannot share {} key/value heads", attention.heads,
                              attention.kv_heads));
  }
  attention.head_dim = settings.optional("attention.key_length", hidden / attention.heads, 1);
  attention.value_dim = settings.optional("attention.value_length", attention.head_dim, 1);
  attention.scale = static_cast<float>(
      settings.number("attention.scale", 1.0 / std::sqrt(static_cast<double>(attention.head_dim))));
  const std::string norm = settings.word("attention.qk_norm", "none");
  if (norm == "head") {
    attention.qk_norm = QkNorm::kHead;
  } else if (norm == "projection") {
    attention.qk_norm = QkNorm::kProjection;
  } else if (norm != "none") {
    settings.fail(fmt::format("a query/key norm over '{}' is not known", norm),
                  ErrorCode::kUnsupported);
  }
  if (const auto clamp = settings.optional_number("attention.clamp_kqv"); clamp && *clamp > 0) {
    attention.clamp = static_cast<float>(*clamp);
  }
  return attention;
}

RopeDescription read_rope(SettingReader& settings, std::uint32_t head_dim) {
  RopeDescription rope;
  rope.rotary_dim = settings.optional("rope.dimension_count", head_dim, 2);
  if (rope.rotary_dim > head_dim || rope.rotary_dim % 2 != 0) {
    settings.fail(
        fmt::format("RoPE over {} of {} dimensions is impossible", rope.rotary_dim, head_dim));
  }
  rope.base = settings.number("rope.freq_base", 10000.0);
  if (rope.base <= 0) settings.fail("the setting 'rope.freq_base' is not positive");
  rope.interleaved = settings.flag("rope.interleaved", false);
  const std::string scaling = settings.word("rope.scaling.type", "none");
  if (scaling == "none" || scaling == "default") return rope;
  rope.factor = settings.number("rope.scaling.factor", 1.0);
  if (rope.factor <= 0) settings.fail("the setting 'rope.scaling.factor' is not positive");
  if (scaling == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (scaling == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.original_context = settings.number("rope.scaling.original_context_length", 0);
    if (rope.original_context < 1)
      settings.fail("YaRN needs 'rope.scaling.original_context_length'");
    rope.beta_fast = settings.number("rope.scaling.yarn_beta_fast", 32.0);
    rope.beta_slow = settings.number("rope.scaling.yarn_beta_slow", 1.0);
    rope.attention_factor = settings.optional_number("rope.attention_factor");
  } else {
    settings.fail(fmt::format("RoPE scaling '{}' is not supported", scaling),
                  ErrorCode::kUnsupported);
  }
  return rope;
}

RouterDescription read_router(SettingReader& settings) {
  RouterDescription router;
  router.experts = settings.required("expert_count");
  router.top_k = settings.required("expert_used_count");
  if (router.top_k > router.experts) {
    settings.fail(fmt::format("{} experts a token of {}", router.top_k, router.experts));
  }
  if (const std::string score = settings.word("router.score", "softmax"); score != "softmax") {
    settings.fail(fmt::format("a router with '{}' scores is not supported", score),
                  ErrorCode::kUnsupported);
  }
  router.renormalise = settings.flag("router.renormalise", false);
  router.scale = static_cast<float>(settings.number("expert_weights_scale", 1.0));
  if (router.scale == 0.0f) router.scale = 1.0f;  // some converters write 0 for "none"
  return router;
}

/// A tensor in a format that this build lacks must not pass for one that the model does without:
/// biases, shared experts and the head are optional.
Status check_readable(const Checkpoint& checkpoint, std::uint32_t layers) {
  for (const auto& [name, format] : checkpoint.unreadable) {
    constexpr std::string_view kLayer = "blk.";
    std::uint32_t layer = 0;
    if (name.starts_with(kLayer)) {
      std::from_chars(name.data() + kLayer.size(), name.data() + name.size(), layer);
    } else if (!name.starts_with("token_embd") && !name.starts_with("output")) {
      continue;
    }
    if (layer < layers) return checkpoint.require(name).status();
  }
  return {};
}

/// Sparse, dense or with a shared expert: the tensors decide.
LayerDescription read_layer(const Checkpoint& checkpoint, std::uint32_t index,
                            std::uint32_t window) {
  const auto tensor = [&](std::string_view part) {
    return checkpoint.find(fmt::format("blk.{}.{}.weight", index, part));
  };
  LayerDescription layer;
  layer.window = window;
  layer.sparse = tensor("ffn_gate_inp") != nullptr;
  const TensorInfo* gate = tensor(layer.sparse ? "ffn_gate_shexp" : "ffn_gate");
  layer.shared_expert = layer.sparse && gate != nullptr;
  if (gate != nullptr && !gate->shape.empty() && gate->shape[0] <= std::uint64_t{kMaxWidth}) {
    layer.ffn = static_cast<std::uint32_t>(gate->shape[0]);
  }
  return layer;
}

}  // namespace

Result<ModelDescription> ModelDescription::from(const Checkpoint& checkpoint) {
  ModelDescription model;
  model.architecture = checkpoint.architecture;
  SettingReader settings(checkpoint);
  // formats/ spells out the router of every architecture that it knows.
  if (checkpoint.settings.find("router.score") == checkpoint.settings.end()) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("{}: the architecture '{}' is not one that this version runs",
                              checkpoint.files.empty() ? "checkpoint" : checkpoint.files[0],
                              checkpoint.architecture));
  }
  model.name = settings.word("general.name", checkpoint.architecture);
  model.hidden = settings.required("embedding_length");
  const std::uint32_t layer_count = settings.required("block_count", kMaxLayers);
  model.context_length = settings.optional("context_length", 2048, 1);
  model.norm_epsilon =
      static_cast<float>(settings.number("attention.layer_norm_rms_epsilon", 1e-6));
  SLUICE_TRY(settings.status());
  if (const std::string norm = settings.word("norm.kind", "rms"); norm != "rms") {
    settings.fail(fmt::format("norms of kind '{}' are not supported", norm),
                  ErrorCode::kUnsupported);
  }
  if (const std::string activation = settings.word("feed_forward.activation", "silu");
      activation != "silu") {
    settings.fail(fmt::format("the activation '{}' is not supported", activation),
                  ErrorCode::kUnsupported);
  }
  model.attention = read_attention(settings, model.hidden);
  model.rope = read_rope(settings, model.attention.head_dim);
  model.router = read_router(settings);
  model.expert_ffn = settings.optional("expert_feed_forward_length",
                                       settings.optional("feed_forward_length", 0), 1);

  SLUICE_TRY(check_readable(checkpoint, layer_count));
  SLUICE_ASSIGN(const TensorInfo* embedding, checkpoint.require("token_embd.weight"));
  if (embedding->shape.size() != 2 || embedding->shape[0] > std::uint64_t{kMaxWidth}) {
    settings.fail("the tensor 'token_embd.weight' is not a matrix, or has too many rows");
  } else {
    model.vocabulary = static_cast<std::uint32_t>(embedding->shape[0]);
  }

  const std::uint32_t window = settings.optional("attention.sliding_window", 0);
  const auto windowed = settings.list("attention.sliding_window_layers");
  settings.refuse_what_was_not_asked();
  if (windowed && windowed->size() != layer_count) {
    settings.fail(
        "the setting 'attention.sliding_window_layers' does not have an entry for each layer");
  }
  SLUICE_TRY(settings.status());
  for (std::uint32_t i = 0; i < layer_count; ++i) {
    const bool has_window = !windowed || (*windowed)[i] != 0;
    model.layers.push_back(read_layer(checkpoint, i, has_window ? window : 0));
  }
  return model;
}

AttentionShape attention_shape(const ModelDescription& model, KvType kv_type) {
  return {.heads = model.attention.heads,
          .kv_heads = model.attention.kv_heads,
          .head_dim = model.attention.head_dim,
          .value_dim = model.attention.value_dim,
          .kv_type = kv_type,
          .scale = model.attention.scale};
}

}  // namespace sluice

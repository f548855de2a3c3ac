#include "formats/hf_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "formats/architectures.h"
#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;

enum class Kind { kInteger, kReal, kBoolean, kText };

struct SettingRow {
  std::string_view hf;
  std::string_view setting;
  Kind kind;
};

/// Where two keys mean one setting, the first that is there counts.
constexpr auto kSettings = std::to_array<SettingRow>({
    {"num_hidden_layers", "block_count", Kind::kInteger},
    {"max_position_embeddings", "context_length", Kind::kInteger},
    {"hidden_size", "embedding_length", Kind::kInteger},
    {"intermediate_size", "feed_forward_length", Kind::kInteger},
    {"moe_intermediate_size", "expert_feed_forward_length", Kind::kInteger},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", Kind::kInteger},
    {"num_experts", "expert_count", Kind::kInteger},
    {"num_local_experts", "expert_count", Kind::kInteger},
    {"num_experts_per_tok", "expert_used_count", Kind::kInteger},
    {"routed_scaling_factor", "expert_weights_scale", Kind::kReal},
    {"norm_topk_prob", "router.renormalise", Kind::kBoolean},
    {"num_attention_heads", "attention.head_count", Kind::kInteger},
    {"num_key_value_heads", "attention.head_count_kv", Kind::kInteger},
    {"head_dim", "attention.key_length", Kind::kInteger},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", Kind::kReal},
    {"clip_qkv", "attention.clamp_kqv", Kind::kReal},
    {"rope_theta", "rope.freq_base", Kind::kReal},
    {"hidden_act", "feed_forward.activation", Kind::kText},
    {"vocab_size", "vocab_size", Kind::kInteger},
});

/// Inside rope_scaling or rope_parameters.
constexpr auto kRopeSettings = std::to_array<SettingRow>({
    {"rope_theta", "rope.freq_base", Kind::kReal},
    {"factor", "rope.scaling.factor", Kind::kReal},
    {"original_max_position_embeddings", "rope.scaling.original_context_length", Kind::kInteger},
    {"beta_fast", "rope.scaling.yarn_beta_fast", Kind::kReal},
    {"beta_slow", "rope.scaling.yarn_beta_slow", Kind::kReal},
    {"low_freq_factor", "rope.scaling.low_freq_factor", Kind::kReal},
    {"high_freq_factor", "rope.scaling.high_freq_factor", Kind::kReal},
    {"truncate", "rope.scaling.truncate", Kind::kBoolean},
});

constexpr auto kSamplingSettings = std::to_array<SettingRow>({
    {"temperature", "sampling.temperature", Kind::kReal},
    {"top_k", "sampling.top_k", Kind::kInteger},
    {"top_p", "sampling.top_p", Kind::kReal},
    {"min_p", "sampling.min_p", Kind::kReal},
    {"repetition_penalty", "sampling.repeat_penalty", Kind::kReal},
});

Result<std::optional<Setting>> read_setting(const json& node, const SettingRow& row) {
  const auto wrap = [](const auto& value) {
    return value ? std::optional<Setting>(Setting(*value)) : std::nullopt;
  };
  switch (row.kind) {
    case Kind::kInteger: {
      SLUICE_ASSIGN(const auto value, json_value<std::int64_t>(node, row.hf));
      return wrap(value);
    }
    case Kind::kReal: {
      SLUICE_ASSIGN(const auto value, json_value<double>(node, row.hf));
      return wrap(value);
    }
    case Kind::kBoolean: {
      SLUICE_ASSIGN(const auto value, json_value<bool>(node, row.hf));
      return wrap(value);
    }
    case Kind::kText:
      break;
  }
  SLUICE_ASSIGN(const auto value, json_value<std::string>(node, row.hf));
  return wrap(value);
}

/// How Transformers decides which layers of an architecture see a window only.
enum class WindowRule {
  kNever,
  kWhereSet,             // all layers, where sliding_window is set
  kOnRequest,            // all layers, where use_sliding_window is true too
  kOnRequestAlternating  // the same, but only layers by layer_types, or else every second one below
                         // max_window_layers
};

WindowRule window_rule(std::string_view architecture) {
  if (architecture == "olmoe") return WindowRule::kNever;
  if (architecture == "qwen3moe") return WindowRule::kOnRequest;
  if (architecture == "qwen2moe") return WindowRule::kOnRequestAlternating;
  return WindowRule::kWhereSet;
}

class ConfigTranslator {
 public:
  ConfigTranslator(const json& config, Checkpoint& checkpoint)
      : config_(config), checkpoint_(checkpoint) {}

  Status run() {
    SLUICE_ASSIGN(const auto model_type, json_value<std::string>(config_, "model_type"));
    if (!model_type || model_type->empty()) {
      return Status(ErrorCode::kCorrupt, "'model_type' is missing");
    }
    const Architecture* architecture = find_architecture_of_model_type(*model_type);
    known_ = architecture != nullptr;
    checkpoint_.architecture = known_ ? std::string(architecture->name) : *model_type;
    SLUICE_TRY(apply(config_, kSettings));
    SLUICE_TRY(translate_rope());
    SLUICE_TRY(translate_window());
    if (known_) {
      set("router.renormalise", architecture->hf_renormalise);
    } else {
      keep_the_rest();
    }
    return {};
  }

 private:
  void set(std::string_view key, Setting value) {
    checkpoint_.settings.try_emplace(std::string(key), std::move(value));
  }

  Status apply(const json& node, std::span<const SettingRow> rows) {
    for (const SettingRow& row : rows) {
      auto value = read_setting(node, row);
      if (value.ok() && *value) set(row.setting, std::move(**value));
      // An architecture that nobody has looked at may mean something else by the key.
      if (!value.ok() && known_) return value.status();
    }
    return {};
  }

  /// rope_theta and rope_scaling of old, or both in rope_parameters.
  Status translate_rope() {
    const json* rope = json_member(config_, "rope_parameters");
    if (rope == nullptr) rope = json_member(config_, "rope_scaling");
    if (rope == nullptr) return {};
    if (!rope->is_object()) return Status(ErrorCode::kCorrupt, "the rope parameters are no object");
    SLUICE_ASSIGN(auto type, json_value<std::string>(*rope, "rope_type"));
    if (!type) {
      SLUICE_ASSIGN(type, json_value<std::string>(*rope, "type"));
    }
    if (!type || *type == "default") {
      return apply(*rope, std::span(kRopeSettings).first(1));  // the base alone
    }
    set("rope.scaling.type", *type);
    SLUICE_TRY(apply(*rope, kRopeSettings));
    SLUICE_ASSIGN(const auto context, checkpoint_.integer("context_length"));
    if (context) set("rope.scaling.original_context_length", *context);
    SLUICE_ASSIGN(const auto original, checkpoint_.integer("rope.scaling.original_context_length"));
    if (context && original && *original > 0) {
      set("rope.scaling.factor", static_cast<double>(*context) / static_cast<double>(*original));
    }
    return *type == "yarn" ? translate_yarn_attention(*rope) : Status();
  }

  /// Transformers' attention_factor is the whole factor on the angles' cosines and sines; GGUF's
  /// attn_factor multiplies YaRN's own 0.1 ln(factor) + 1.
  Status translate_yarn_attention(const json& rope) {
    SLUICE_ASSIGN(const auto factor, checkpoint_.real("rope.scaling.factor"));
    if (!factor || !(*factor > 0)) return {};
    const auto scale = [&](double strength) {
      return *factor <= 1 ? 1.0 : 0.1 * strength * std::log(*factor) + 1;
    };
    SLUICE_ASSIGN(auto whole, json_value<double>(rope, "attention_factor"));
    SLUICE_ASSIGN(const auto mscale, json_value<double>(rope, "mscale"));
    SLUICE_ASSIGN(const auto mscale_all, json_value<double>(rope, "mscale_all_dim"));
    if (!whole && mscale && mscale_all && *mscale != 0 && *mscale_all != 0) {
      whole = scale(*mscale) / scale(*mscale_all);
    }
    if (whole) set("rope.scaling.attn_factor", *whole / scale(1));
    return {};
  }

  Status translate_window() {
    const WindowRule rule = window_rule(checkpoint_.architecture);
    if (rule == WindowRule::kNever) return {};
    const auto window = json_value<std::int64_t>(config_, "sliding_window");
    if (!window.ok()) return known_ ? window.status() : Status();
    if (!*window || **window <= 0) return {};
    if (rule != WindowRule::kWhereSet) {
      SLUICE_ASSIGN(const auto wanted, json_value<bool>(config_, "use_sliding_window"));
      if (!wanted.value_or(false)) return {};
    }
    if (rule == WindowRule::kOnRequestAlternating || !known_) {
      SLUICE_ASSIGN(std::vector<std::int64_t> layers, windowed_layers(rule));
      if (!layers.empty()) {
        if (std::ranges::find(layers, 1) == layers.end()) return {};
        set("attention.sliding_window_layers", std::move(layers));
      }
    }
    set("attention.sliding_window", **window);
    return {};
  }

  /// 1 for each layer with a window; empty: all.
  Result<std::vector<std::int64_t>> windowed_layers(WindowRule rule) const {
    std::vector<std::int64_t> layers;
    SLUICE_ASSIGN(const auto count, checkpoint_.integer("block_count"));
    if (const json* types = json_member(config_, "layer_types")) {
      if (!types->is_array() || (count && static_cast<std::int64_t>(types->size()) != *count)) {
        return Status(ErrorCode::kCorrupt, "'layer_types' is not a list with one for each layer");
      }
      for (const json& type : *types) layers.push_back(type == "sliding_attention" ? 1 : 0);
    } else if (rule == WindowRule::kOnRequestAlternating && count) {
      SLUICE_ASSIGN(const auto most, json_value<std::int64_t>(config_, "max_window_layers"));
      if (*count < 0 || *count > (1 << 16)) {
        return Status(ErrorCode::kCorrupt, "'num_hidden_layers' is out of range");
      }
      for (std::int64_t i = 0; i < *count; ++i) {
        layers.push_back(i % 2 == 0 && i < most.value_or(28) ? 1 : 0);
      }
    }
    return layers;
  }

  void keep_the_rest() {
    for (const auto& [key, value] : config_.items()) {
      const std::string name = "config." + key;
      if (value.is_boolean()) set(name, value.get<bool>());
      if (value.is_string()) set(name, value.get<std::string>());
      if (value.is_number()) {
        const auto integer = json_value<std::int64_t>(config_, key);
        if (integer.ok() && !value.is_number_float()) {
          set(name, **integer);
        } else {
          set(name, value.get<double>());
        }
      }
    }
  }

  const json& config_;
  Checkpoint& checkpoint_;
  bool known_ = false;
};

}  // namespace

Status translate_config(const json& config, Checkpoint& checkpoint) {
  // A multimodal checkpoint keeps the language model's part in a member of its own.
  const json* text = json_member(config, "text_config");
  return ConfigTranslator(text != nullptr && text->is_object() ? *text : config, checkpoint).run();
}

Status translate_generation_config(const json& generation, Checkpoint& checkpoint) {
  SLUICE_ASSIGN(const auto sample, json_value<bool>(generation, "do_sample"));
  if (!sample.value_or(false)) return {};
  for (const SettingRow& row : kSamplingSettings) {
    SLUICE_ASSIGN(auto value, read_setting(generation, row));
    if (value) checkpoint.settings.try_emplace(std::string(row.setting), std::move(*value));
  }
  return {};
}

}  // namespace sluice

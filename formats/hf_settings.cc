#include "formats/hf_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/hf_defaults.h"
#include "formats/hf_layers.h"
#include "formats/hf_rope.h"
#include "formats/hf_setting_rows.h"
#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;
using enum JsonKind;

constexpr auto kSettings = std::to_array<SettingRow>({
    {"num_hidden_layers", "block_count", kInteger},
    {"num_nextn_predict_layers", "nextn_predict_layers", kInteger},
    {"max_position_embeddings", "context_length", kInteger},
    {"hidden_size", "embedding_length", kInteger},
    {"vocab_size", "vocab_size", kInteger},
    {"hidden_size_per_layer_input", "embedding_length_per_layer_input", kInteger},
    {"embedding_multiplier", "embedding_scale", kReal},
    {"residual_multiplier", "residual_scale", kReal},
    {"final_logit_softcapping", "final_logit_softcapping", kReal},
    {"norm_head", "output.normalised", kBoolean},
    {"rope_interleave", "rope.interleaved", kBoolean},

    {"intermediate_size_mlp", "feed_forward_length", kInteger, "llama4"},
    {"intermediate_size", "expert_feed_forward_length", kInteger, "llama4"},
    {"intermediate_size", "feed_forward_length", kInteger},
    {"moe_ffn_hidden_size", "expert_feed_forward_length", kInteger, "smallthinker"},
    {"moe_intermediate_size", "expert_feed_forward_length", kInteger},
    {"expert_intermediate_size", "expert_feed_forward_length", kInteger},
    {"hidden_act", "feed_forward.activation", kText},
    {"hidden_activation", "feed_forward.activation", kText},
    {"swiglu_alpha", "feed_forward.swiglu_alpha", kReal},
    {"swiglu_limit", "feed_forward.swiglu_limit", kReal},

    {"num_experts", "expert_count", kInteger},
    {"num_local_experts", "expert_count", kInteger},
    {"n_routed_experts", "expert_count", kInteger},
    {"moe_num_experts", "expert_count", kInteger},
    {"moe_num_primary_experts", "expert_count", kInteger},
    {"num_experts_per_tok", "expert_used_count", kInteger},
    {"experts_per_token", "expert_used_count", kInteger},
    {"moe_k", "expert_used_count", kInteger},
    {"moe_num_active_primary_experts", "expert_used_count", kInteger},
    {"top_k_experts", "expert_used_count", kInteger},
    {"routed_scaling_factor", "expert_weights_scale", kReal},
    {"norm_topk_prob", "router.renormalise", kBoolean},
    {"scoring_func", "router.score", kText},
    {"score_function", "router.score", kText},
    {"router_jitter_noise", "router.jitter", kReal, "phimoe"},
    {"n_group", "expert_group_count", kInteger},
    {"topk_group", "expert_group_used_count", kInteger},

    {"num_attention_heads", "attention.head_count", kInteger},
    {"num_key_value_heads", "attention.head_count_kv", kInteger},
    {"head_dim", "attention.key_length", kInteger},
    {"v_head_dim", "attention.value_length", kInteger},
    {"q_lora_rank", "attention.q_lora_rank", kInteger},
    {"kv_lora_rank", "attention.kv_lora_rank", kInteger},
    {"attention_multiplier", "attention.scale", kReal},
    {"clip_qkv", "attention.clamp_kqv", kReal},
    {"num_kv_shared_layers", "attention.shared_kv_layers", kInteger},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", kReal},

    {"linear_conv_kernel_dim", "ssm.conv_kernel", kInteger},
    {"linear_key_head_dim", "ssm.state_size", kInteger},
    {"linear_num_key_heads", "ssm.group_count", kInteger},
    {"linear_num_value_heads", "ssm.time_step_rank", kInteger},
});

constexpr auto kSamplingSettings = std::to_array<SettingRow>({
    {"temperature", "sampling.temperature", kReal},
    {"top_k", "sampling.top_k", kInteger},
    {"top_p", "sampling.top_p", kReal},
    {"min_p", "sampling.min_p", kReal},
    {"repetition_penalty", "sampling.repeat_penalty", kReal},
});

/// In per_layer_config.
constexpr auto kSettingsOfLayers = std::to_array<SettingRow>({
    {"head_dim", "attention.key_length", kInteger},
    {"num_key_value_heads", "attention.head_count_kv", kInteger},
});

class ConfigTranslator {
 public:
  ConfigTranslator(const json& config, const Architecture* architecture, Checkpoint& checkpoint)
      : config_(config), architecture_(architecture), settings_(checkpoint) {}

  Status run() {
    const bool known = architecture_ != nullptr;
    const std::string_view name = known ? architecture_->name : std::string_view();
    if (known) SLUICE_TRY(translate_first());
    SLUICE_TRY(apply_rows(config_, kSettings, name, !known, settings_));
    SLUICE_TRY(translate_hf_layers(config_, architecture_, settings_));
    if (known) {
      SLUICE_TRY(translate_heads_by_layer());
      SLUICE_TRY(translate_layers_of_their_own());
    }
    SLUICE_TRY(translate_hf_rope(config_, architecture_, settings_));
    if (!known) {
      keep_the_rest();
      return {};
    }
    return translate_router();
  }

 private:
  void set(std::string_view key, Setting value) { settings_.set(key, std::move(value)); }

  /// What the table would read otherwise.
  Status translate_first() {
    SLUICE_ASSIGN(const auto divisor, json_value<double>(config_, "logits_scaling"));
    if (divisor && *divisor != 0) set("logit_scale", 1 / *divisor);
    SLUICE_ASSIGN(const auto rank, json_value<std::int64_t>(config_, "kv_lora_rank"));
    if (rank) {
      // Its head_dim is of the rotary part, and all heads share the compressed row.
      SLUICE_ASSIGN(const auto plain, json_value<std::int64_t>(config_, "qk_nope_head_dim"));
      SLUICE_ASSIGN(const auto rotary, json_value<std::int64_t>(config_, "qk_rope_head_dim"));
      constexpr std::int64_t kMost = 1 << 20;
      if (!plain || !rotary || *plain < 1 || *rotary < 2 || *plain > kMost || *rotary > kMost) {
        return Status(ErrorCode::kCorrupt,
                      "'qk_nope_head_dim' or 'qk_rope_head_dim' is missing or out of range");
      }
      set("attention.key_length", *plain + *rotary);
      set("rope.dimension_count", *rotary);
      set("attention.head_count_kv", std::int64_t{1});
    }
    if (architecture_->name == "gemma4") {
      SLUICE_ASSIGN(const auto width, json_value<std::int64_t>(config_, "hidden_size"));
      if (width && *width > 0) set("embedding_scale", std::sqrt(static_cast<double>(*width)));
    }
    SLUICE_ASSIGN(const auto softmax,
                  json_value<bool>(config_, "moe_primary_router_apply_softmax"));
    if (softmax) set("router.score", std::string(*softmax ? "softmax" : "sigmoid"));
    SLUICE_ASSIGN(const auto norm, json_value<bool>(config_, "use_qk_norm"));
    if (norm) {
      set("attention.qk_norm", std::string(*norm ? architecture_->qk_norm : "none"));
    }
    SLUICE_ASSIGN(const auto value_heads,
                  json_value<std::int64_t>(config_, "linear_num_value_heads"));
    SLUICE_ASSIGN(const auto value_length,
                  json_value<std::int64_t>(config_, "linear_value_head_dim"));
    if (value_heads && value_length) {
      constexpr std::int64_t kMost = 1 << 20;
      if (*value_heads < 1 || *value_length < 1 || *value_heads > kMost || *value_length > kMost) {
        return Status(ErrorCode::kCorrupt,
                      "'linear_num_value_heads' or 'linear_value_head_dim' is out of range");
      }
      set("ssm.inner_size", *value_heads * *value_length);
    }
    return {};
  }

  /// Layers that see everything may have longer heads, and fewer keys where these are values, too.
  Status translate_heads_by_layer() {
    if (json_member(config_, "per_layer_config") != nullptr) return {};  // says it itself
    SLUICE_ASSIGN(const auto windowed,
                  settings_.checkpoint().integers("attention.sliding_window_layers"));
    const bool all_windowed = !windowed && settings_.has("attention.sliding_window");
    if (all_windowed) return {};
    const auto mix = [&](std::string_view hf, std::string_view key) -> Status {
      SLUICE_ASSIGN(const auto global, json_value<std::int64_t>(config_, hf));
      const auto local = settings_.integer(key);
      if (!global || !local) return {};
      if (!windowed) {
        settings_.replace(key, *global);
        return {};
      }
      std::vector<std::int64_t> values;
      for (const std::int64_t flag : *windowed) values.push_back(flag != 0 ? *local : *global);
      settings_.set_by_layer(key, std::move(values));
      return {};
    };
    SLUICE_TRY(mix("global_head_dim", "attention.key_length"));
    SLUICE_ASSIGN(const auto shared, json_value<bool>(config_, "attention_k_eq_v"));
    if (!shared.value_or(false)) return {};
    return mix("num_global_key_value_heads", "attention.head_count_kv");
  }

  /// {"3": {"head_dim": 512}}: what single layers have of their own, as Transformers 5 writes it.
  Status translate_layers_of_their_own() {
    const json* const layers = json_member(config_, "per_layer_config");
    if (layers == nullptr) return {};
    if (!layers->is_object()) {
      return Status(ErrorCode::kCorrupt, "'per_layer_config' is no object");
    }
    SLUICE_ASSIGN(const std::size_t count, settings_.layers());
    for (const SettingRow& row : kSettingsOfLayers) {
      const auto usual = settings_.integer(row.setting);
      if (!usual) continue;
      std::vector<std::int64_t> values(count, *usual);
      for (const auto& [name, own] : layers->items()) {
        std::size_t layer = 0;
        const auto parsed = std::from_chars(name.data(), name.data() + name.size(), layer);
        if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size() || layer >= count) {
          return Status(ErrorCode::kCorrupt, "'per_layer_config' has a layer '" + name + "' of " +
                                                 std::to_string(count));
        }
        SLUICE_ASSIGN(const auto value, json_value<std::int64_t>(own, row.hf));
        if (value) values[layer] = *value;
      }
      settings_.set_by_layer(row.setting, std::move(values));
    }
    return refuse_other_layers_of_their_own(*layers);
  }

  static Status refuse_other_layers_of_their_own(const json& layers) {
    for (const auto& [name, own] : layers.items()) {
      for (const auto& [key, value] : own.items()) {
        const auto known = [&key = key](const SettingRow& row) { return row.hf == key; };
        if (std::any_of(kSettingsOfLayers.begin(), kSettingsOfLayers.end(), known)) continue;
        return Status(ErrorCode::kUnsupported,
                      "'per_layer_config' gives layer " + name + " a '" + key +
                          "' of its own, which this version does not know");
      }
    }
    return {};
  }

  Status translate_router() {
    set("router.score", std::string(architecture_->router_score));
    set("router.renormalise", architecture_->hf_renormalise);
    SLUICE_ASSIGN(const auto method, json_value<std::string>(config_, "topk_method"));
    if (method && *method != "greedy" && settings_.integer("expert_group_count").value_or(1) > 1) {
      if (*method == "group_limited_greedy") {
        set("router.groups", std::string("best"));
      } else {
        set("router.groups", *method == "noaux_tc" ? std::string("best_two") : *method);
      }
    }
    if (method && *method == "greedy") set("router.groups", std::string("none"));
    return {};
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
  const Architecture* architecture_;
  SettingEditor settings_;
};

}  // namespace

const json& text_config(const json& config) {
  const json* text = json_member(config, "text_config");
  return text != nullptr && text->is_object() ? *text : config;
}

Result<const Architecture*> translate_config(const json& config, Checkpoint& checkpoint) {
  const json& text = text_config(config);
  SLUICE_ASSIGN(auto model_type, json_value<std::string>(text, "model_type"));
  if (!model_type) {
    SLUICE_ASSIGN(model_type, json_value<std::string>(config, "model_type"));
  }
  if (!model_type || model_type->empty()) {
    return Status(ErrorCode::kCorrupt, "'model_type' is missing");
  }
  const Architecture* architecture = find_architecture_of_model_type(*model_type);
  const json whole = architecture != nullptr ? with_defaults(text, *architecture) : text;
  checkpoint.architecture = architecture != nullptr ? std::string(architecture->name) : *model_type;
  for (const SettingRow& row : kSettings) {
    if (json_member(whole, row.hf) == nullptr) continue;
    checkpoint.setting_names.try_emplace(std::string(row.setting), row.hf);
  }
  checkpoint.setting_names.try_emplace("rope.freq_base", "rope_theta");
  SLUICE_TRY(ConfigTranslator(whole, architecture, checkpoint).run());
  return architecture;
}

Status translate_generation_config(const json& generation, Checkpoint& checkpoint) {
  SLUICE_ASSIGN(const auto sample, json_value<bool>(generation, "do_sample"));
  if (!sample.value_or(false)) return {};
  SettingEditor settings(checkpoint);
  return apply_rows(generation, kSamplingSettings, {}, false, settings);
}

}  // namespace sluice

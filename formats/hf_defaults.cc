#include "formats/hf_defaults.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;

/// A configuration class: those of its defaults that hf_settings.cc, hf_layers.cc and hf_rope.cc
/// look at and that the architecture's row does not say (base of RoPE, epsilon, renormalisation).
struct Defaults {
  std::string_view hf_model_type;
  std::string_view members;  // JSON
};
constexpr auto kDefaults = std::to_array<Defaults>({
    {"mixtral", R"({"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
        "num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":131072,
        "num_experts_per_tok":2,"num_local_experts":8})"},
    {"qwen2_moe", R"({"hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":24,
        "num_attention_heads":16,"num_key_value_heads":16,"max_position_embeddings":32768,
        "sliding_window":4096,"max_window_layers":28,"moe_intermediate_size":1408,
        "num_experts_per_tok":4,"num_experts":60})"},
    {"qwen3_moe", R"({"hidden_size":2048,"intermediate_size":6144,"num_hidden_layers":24,
        "num_attention_heads":32,"num_key_value_heads":4,"max_position_embeddings":32768,
        "sliding_window":4096,"moe_intermediate_size":768,"num_experts_per_tok":8,
        "num_experts":128})"},
    {"olmoe", R"({"hidden_size":2048,"intermediate_size":2048,"num_hidden_layers":16,
        "num_attention_heads":16,"max_position_embeddings":4096,"num_experts_per_tok":8,
        "num_experts":64})"},
    {"deepseek_v2", R"({"hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,
        "num_attention_heads":32,"max_position_embeddings":2048,"kv_lora_rank":512,
        "q_lora_rank":1536,"n_routed_experts":64,"qk_nope_head_dim":128,"qk_rope_head_dim":64,
        "v_head_dim":128,"topk_method":"greedy","moe_intermediate_size":1407})"},
    {"deepseek_v3", R"({"hidden_size":7168,"intermediate_size":18432,"num_hidden_layers":61,
        "num_attention_heads":128,"max_position_embeddings":4096,"moe_intermediate_size":2048,
        "n_routed_experts":256,"routed_scaling_factor":2.5,"kv_lora_rank":512,"q_lora_rank":1536,
        "qk_rope_head_dim":64,"v_head_dim":128,"qk_nope_head_dim":128,"n_group":8,"topk_group":4,
        "num_experts_per_tok":8,"num_nextn_predict_layers":1})"},
    {"glm4_moe_lite", R"({"hidden_size":2048,"intermediate_size":10240,"num_hidden_layers":47,
        "num_attention_heads":20,"max_position_embeddings":202752,"moe_intermediate_size":1536,
        "n_routed_experts":64,"routed_scaling_factor":1.8,"kv_lora_rank":512,"q_lora_rank":768,
        "qk_rope_head_dim":64,"v_head_dim":256,"qk_nope_head_dim":192,"n_group":1,"topk_group":1,
        "num_experts_per_tok":4})"},
    {"glm4_moe", R"({"hidden_size":4096,"intermediate_size":10944,"num_hidden_layers":46,
        "num_attention_heads":96,"num_key_value_heads":8,"max_position_embeddings":131072,
        "moe_intermediate_size":1408,"num_experts_per_tok":8,"n_routed_experts":128,
        "routed_scaling_factor":1.0,"n_group":1,"topk_group":1,"num_nextn_predict_layers":1})"},
    {"gpt_oss", R"({"hidden_size":2880,"intermediate_size":2880,"num_hidden_layers":36,
        "num_attention_heads":64,"num_key_value_heads":8,"head_dim":64,"sliding_window":128,
        "max_position_embeddings":131072,"num_experts_per_tok":4,"num_local_experts":128,
        "rope_parameters":{"rope_type":"yarn","factor":32.0,"beta_fast":32.0,"beta_slow":1.0,
        "truncate":false,"original_max_position_embeddings":4096}})"},
    {"granitemoe", R"({"hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,
        "num_attention_heads":32,"max_position_embeddings":2048,"attention_multiplier":1.0,
        "num_local_experts":8,"num_experts_per_tok":2})"},
    {"granitemoeshared", R"({"hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,
        "num_attention_heads":32,"max_position_embeddings":2048,"attention_multiplier":1.0,
        "num_local_experts":8,"num_experts_per_tok":2})"},
    {"phimoe", R"({"hidden_size":4096,"intermediate_size":6400,"num_hidden_layers":32,
        "num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":131072,
        "num_experts_per_tok":2,"num_local_experts":16,"router_jitter_noise":0.01})"},
    {"minimax_m2", R"({"hidden_size":3072,"intermediate_size":1536,"num_hidden_layers":62,
        "num_attention_heads":48,"num_key_value_heads":8,"head_dim":128,
        "max_position_embeddings":196608,"num_experts_per_tok":8,"num_local_experts":256})"},
    {"ernie4_5_moe", R"({"hidden_size":2560,"intermediate_size":12288,"num_hidden_layers":28,
        "num_attention_heads":20,"num_key_value_heads":4,"max_position_embeddings":131072,
        "moe_intermediate_size":1536,"moe_k":6,"moe_num_experts":64})"},
    {"qwen3_next", R"({"hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":48,
        "num_attention_heads":16,"num_key_value_heads":2,"head_dim":256,
        "max_position_embeddings":32768,"linear_conv_kernel_dim":4,"linear_key_head_dim":128,
        "linear_value_head_dim":128,"linear_num_key_heads":16,"linear_num_value_heads":32,
        "moe_intermediate_size":512,"num_experts_per_tok":10,"num_experts":512})"},
    {"qwen3_5_moe", R"({"hidden_size":2048,"num_hidden_layers":40,"num_attention_heads":16,
        "num_key_value_heads":2,"head_dim":256,"max_position_embeddings":32768,
        "linear_conv_kernel_dim":4,"linear_key_head_dim":128,"linear_value_head_dim":128,
        "linear_num_key_heads":16,"linear_num_value_heads":32,"moe_intermediate_size":512,
        "num_experts_per_tok":8,"num_experts":256})"},
    {"llama4", R"({"hidden_size":5120,"intermediate_size":8192,"intermediate_size_mlp":16384,
        "num_hidden_layers":48,"num_attention_heads":40,"num_key_value_heads":8,"head_dim":128,
        "max_position_embeddings":131072,"num_experts_per_tok":1,"num_local_experts":16})"},
    {"gemma4", R"({"hidden_size":2304,"intermediate_size":9216,"num_hidden_layers":30,
        "num_attention_heads":8,"num_key_value_heads":4,"head_dim":256,
        "max_position_embeddings":131072,"sliding_window":512,"hidden_size_per_layer_input":256,
        "rope_parameters":{"sliding_attention":{"rope_type":"default","rope_theta":10000.0},
        "full_attention":{"rope_type":"proportional","partial_rotary_factor":0.25,
        "rope_theta":1000000.0}},"global_head_dim":512})"},
    {"dots1", R"({"hidden_size":4608,"intermediate_size":10944,"num_hidden_layers":62,
        "num_attention_heads":32,"num_key_value_heads":32,"max_position_embeddings":2048,
        "moe_intermediate_size":1408,"n_group":1,"topk_group":1,"sliding_window":4096,
        "max_window_layers":62})"},
});

/// Keys that mean the same, or of which one makes the others' defaults void.
constexpr std::string_view kExperts[] = {"num_experts", "num_local_experts", "n_routed_experts",
                                         "moe_num_experts"};
constexpr std::string_view kChosen[] = {"num_experts_per_tok", "experts_per_token", "moe_k",
                                        "top_k_experts"};
constexpr std::string_view kRope[] = {"rope_parameters", "rope_scaling"};
constexpr std::string_view kHeads[] = {"global_head_dim", "per_layer_config"};
constexpr std::array<std::span<const std::string_view>, 4> kAlike = {kExperts, kChosen, kRope,
                                                                     kHeads};

/// Null is a value ("no compressed query"), but of the rotation's parameters it means the usual.
bool said(const json& config, std::string_view key) {
  const bool rope = std::ranges::find(kRope, key) != std::end(kRope);
  const auto has = [&](std::string_view name) {
    return rope ? json_member(config, name) != nullptr : config.contains(name);
  };
  if (has(key)) return true;
  return std::ranges::any_of(kAlike, [&](std::span<const std::string_view> keys) {
    return std::ranges::find(keys, key) != keys.end() && std::ranges::any_of(keys, has);
  });
}

}  // namespace

json with_defaults(const json& config, const Architecture& architecture) {
  json whole = config;
  const auto found =
      std::ranges::find(kDefaults, architecture.hf_model_type, &Defaults::hf_model_type);
  if (found == kDefaults.end()) return whole;
  const json members = json::parse(found->members);
  for (const auto& [key, value] : members.items()) {
    if (!said(config, key)) whole[key] = value;
  }
  return whole;
}

}  // namespace sluice

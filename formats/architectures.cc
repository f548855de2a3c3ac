#include "formats/architectures.h"

#include <array>

namespace sluice {
namespace {

using enum RopePairs;
using enum WindowRule;

constexpr auto kArchitectures = std::to_array<Architecture>({
    {.name = "llama",
     .hf_model_type = "mixtral",
     .pairs = kInterleavedInGguf,
     .rope_base = 1e6,
     .epsilon = 1e-5,
     .windows = kWhereSet,
     .dense_too = true},
    {.name = "qwen2moe",
     .hf_model_type = "qwen2_moe",
     .renormalise = false,
     .hf_renormalise = false,
     .windows = kOnRequestAlternating},
    {.name = "qwen3moe",
     .hf_model_type = "qwen3_moe",
     .qk_norm = "head",
     .hf_renormalise = false,
     .windows = kOnRequest},
    {.name = "olmoe",
     .hf_model_type = "olmoe",
     .qk_norm = "projection",
     .renormalise = false,
     .hf_renormalise = false,
     .epsilon = 1e-5},
    {.name = "deepseek2",
     .hf_model_type = "deepseek_v2",
     .pairs = kInterleaved,
     .renormalise = false,
     .hf_renormalise = false},
    {.name = "deepseek2",
     .hf_model_type = "deepseek_v3",
     .pairs = kInterleaved,
     .router_score = "sigmoid"},
    {.name = "deepseek2",
     .hf_model_type = "kimi_k2",
     .pairs = kInterleaved,
     .router_score = "sigmoid"},
    {.name = "deepseek2",
     .hf_model_type = "glm4_moe_lite",
     .pairs = kInterleaved,
     .router_score = "sigmoid",
     .epsilon = 1e-5},
    {.name = "glm4moe",
     .hf_model_type = "glm4_moe",
     .qk_norm = "head",
     .qk_norm_by_tensors = true,
     .router_score = "sigmoid",
     .epsilon = 1e-5,
     .hf_partial_rotary = 0.5},
    {.name = "gpt-oss",
     .hf_model_type = "gpt_oss",
     .rope_base = 150000,
     .epsilon = 1e-5,
     .windows = kByLayer,
     .window_period = 2,
     .fused = FusedExperts::kInputMajorInTurn},
    {.name = "granitemoe", .hf_model_type = "granitemoe", .pairs = kInterleavedInGguf},
    {.name = "granitemoe", .hf_model_type = "granitemoeshared", .pairs = kInterleavedInGguf},
    {.name = "phimoe",
     .hf_model_type = "phimoe",
     .router_score = "sparsemixer",
     .renormalise = false,
     .hf_renormalise = false,
     .rope_base = 1e6,
     .epsilon = 1e-5,
     .windows = kWhereSet},
    {.name = "minimax-m2",
     .hf_model_type = "minimax_m2",
     .qk_norm = "projection",
     .router_score = "sigmoid",
     .rope_base = 5e6},
    {.name = "ernie4_5-moe",
     .hf_model_type = "ernie4_5_moe",
     .pairs = kInterleaved,
     .rope_base = 5e5,
     .epsilon = 1e-5},
    {.name = "qwen3next",
     .hf_model_type = "qwen3_next",
     .qk_norm = "head",
     .hf_partial_rotary = 0.25,
     .hf_norms_are_offsets = true},
    {.name = "qwen35moe",
     .hf_model_type = "qwen3_5_moe",
     .qk_norm = "head",
     .hf_partial_rotary = 0.25,
     .hf_norms_are_offsets = true},
    {.name = "llama4",
     .hf_model_type = "llama4",
     .pairs = kInterleaved,
     .qk_norm = "unweighted",
     .router_score = "sigmoid",
     .renormalise = false,
     .hf_renormalise = false,
     .rope_base = 5e5,
     .epsilon = 1e-5,
     .windows = kByLayer,
     .window_period = 4,
     .fused = FusedExperts::kInputMajor},
    {.name = "gemma4",
     .hf_model_type = "gemma4",
     .qk_norm = "head",
     .windows = kByLayer,
     .window_period = 6,
     .last_layer_sees_all = true,
     .dense_too = true},
    {.name = "smallthinker",
     .hf_model_type = "smallthinker",
     .router_score = "sigmoid",
     .rope_base = 1.5e6,
     .windows = kByLayer,
     .window_period = 4,
     .window_period_starts_full = true},
    {.name = "pangu-pro-moe",
     .hf_model_type = "PanguProMoE",
     .renormalise = false,
     .hf_renormalise = false,
     .rope_base = 16e6},
    {.name = "dots1",
     .hf_model_type = "dots1",
     .qk_norm = "head",
     .router_score = "sigmoid",
     .renormalise = false,
     .hf_renormalise = false,
     .windows = kLastLayers},
    {.name = "bailingmoe2",
     .hf_model_type = "bailing_moe",
     .qk_norm = "head",
     .qk_norm_by_tensors = true,
     .renormalise = false,
     .rope_base = 6e5},
});

constexpr auto kImplied = std::to_array<ImpliedSetting>({
    {"gpt-oss", "feed_forward.activation", "clamped_swiglu", true},
    {"gpt-oss", "feed_forward.swiglu_alpha", 1.702},
    {"gpt-oss", "feed_forward.swiglu_limit", 7.0},
    {"gpt-oss", "rope.scaling.truncate", false},

    {"phimoe", "norm.kind", "layer"},
    {"phimoe", "router.jitter", 0.01},

    {"qwen3next", "attention.output_gate", true},
    {"qwen35moe", "attention.output_gate", true},

    {"llama4", "router.weights_scale_input", true},

    {"gemma4", "feed_forward.activation", "gelu_tanh"},
    {"gemma4", "attention.scale", 1.0},
    {"gemma4", "attention.value_norm", true},
    {"gemma4", "router.input", "own_norm"},

    {"smallthinker", "feed_forward.activation", "relu"},
    {"smallthinker", "router.input", "layer_input"},

    {"pangu-pro-moe", "router.groups", "one_each"},
});

constexpr auto kRequired = std::to_array<RequiredKey>({
    {"", "attention.layer_norm_rms_epsilon"},
    {"", "expert_count", true},
    {"", "expert_used_count", true},
    {"deepseek2", "attention.kv_lora_rank"},
    {"gpt-oss", "attention.sliding_window"},
    {"granitemoe", "logit_scale"},
    {"qwen3next", "ssm.conv_kernel"},
    {"qwen3next", "ssm.group_count"},
    {"qwen3next", "ssm.inner_size"},
    {"qwen3next", "ssm.state_size"},
    {"qwen3next", "ssm.time_step_rank"},
    {"qwen35moe", "ssm.conv_kernel"},
    {"qwen35moe", "ssm.group_count"},
    {"qwen35moe", "ssm.inner_size"},
    {"qwen35moe", "ssm.state_size"},
    {"qwen35moe", "ssm.time_step_rank"},
    {"gemma4", "attention.key_length_swa"},
    {"gemma4", "attention.sliding_window"},
    {"gemma4", "attention.sliding_window_pattern"},
    {"gemma4", "attention.value_length_swa"},
    {"gemma4", "embedding_length_per_layer_input"},
    {"bailingmoe2", "expert_gating_func"},
});

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return &architecture;
  }
  return nullptr;
}

const Architecture* find_architecture_of_model_type(std::string_view hf_model_type) {
  constexpr std::string_view kNested = "_text";
  if (hf_model_type.ends_with(kNested)) hf_model_type.remove_suffix(kNested.size());
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.hf_model_type == hf_model_type) return &architecture;
  }
  return nullptr;
}

std::span<const ImpliedSetting> implied_settings() { return kImplied; }

std::span<const RequiredKey> required_in_gguf() { return kRequired; }

}  // namespace sluice

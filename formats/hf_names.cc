#include "formats/hf_names.h"

#include <array>
#include <charconv>
#include <span>
#include <vector>

namespace sluice {
namespace {

/// '#' stands for a number. A name with one '#' more than its translation belongs to one expert:
/// its last number is the expert's.
struct NameRow {
  std::string_view hf;
  std::string_view gguf;               // empty: ignored
  std::string_view architecture = {};  // empty: any; a row for one stands before the row for any
};

/// What different checkpoints put before the language model's names. The first that fits is
/// replaced.
struct PrefixRow {
  std::string_view from;
  std::string_view to;
};
constexpr auto kPrefixes = std::to_array<PrefixRow>({
    {"model.language_model.lm_head.", "lm_head."},
    {"model.language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.model.", "model."},
    {"language_model.lm_head.", "lm_head."},
    {"language_model.", "model."},
    {"model.text_model.", "model."},
});

/// What quantisers write for activations and caches of a width of theirs.
constexpr auto kIgnoredEndings =
    std::to_array<std::string_view>({".input_scale", ".k_scale", ".v_scale"});

/// Images, sounds, and layers that predict ahead.
constexpr auto kIgnoredPrefixes = std::to_array<std::string_view>({
    "audio_tower.",
    "mm_projector.",
    "model.audio_tower.",
    "model.embed_audio.",
    "model.embed_vision.",
    "model.multi_modal_projector.",
    "model.mtp_block.",
    "model.mtp_emb_norm.",
    "model.mtp_hidden_norm.",
    "model.mtp_linear_proj.",
    "model.vision_model.",
    "model.vision_tower.",
    "model.visual.",
    "mtp.",
    "multi_modal_projector.",
    "vision_model.",
    "vision_tower.",
    "visual.",
});

/// Names without their last part (".weight", ".bias", scales), which stays as it is.
constexpr auto kNames = std::to_array<NameRow>({
    {"model.embed_tokens", "token_embd"},
    {"model.word_embeddings", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
});

/// The same behind "model.layers.#." and "blk.#.".
constexpr auto kLayerNames = std::to_array<NameRow>({
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.rotary_emb", ""},  // frequencies that old checkpoints stored
    {"attention.query_key_value", "attn_qkv"},
    {"attention.query_layernorm", "attn_q_norm"},
    {"attention.key_layernorm", "attn_k_norm"},
    {"attention.dense", "attn_output"},
    {"post_attention_layernorm", "post_attention_norm", "gemma4"},
    {"pre_feedforward_layernorm", "ffn_norm", "gemma4"},
    {"post_attention_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"post_feedforward_layernorm_1", "post_ffw_norm_1"},
    {"post_feedforward_layernorm_2", "post_ffw_norm_2"},
    {"pre_feedforward_layernorm_2", "pre_ffw_norm_2"},

    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},

    {"linear_attn.in_proj_qkvz", "ssm_in"},
    {"linear_attn.in_proj_ba", "ssm_ba"},
    {"linear_attn.in_proj_qkv", "attn_qkv"},
    {"linear_attn.in_proj_z", "attn_gate"},
    {"linear_attn.in_proj_b", "ssm_beta"},
    {"linear_attn.in_proj_a", "ssm_alpha"},
    {"linear_attn.conv1d", "ssm_conv1d"},
    {"linear_attn.norm", "ssm_norm"},
    {"linear_attn.out_proj", "ssm_out"},

    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"feed_forward.gate_proj", "ffn_gate"},
    {"feed_forward.up_proj", "ffn_up"},
    {"feed_forward.down_proj", "ffn_down"},

    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"router.proj", "ffn_gate_inp"},
    {"feed_forward.router", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"block_sparse_moe.router.layer", "ffn_gate_inp"},
    {"block_sparse_moe.primary_router", "ffn_gate_inp"},

    {"mlp.experts.#.gate_proj", "ffn_gate_exps"},
    {"mlp.experts.#.up_proj", "ffn_up_exps"},
    {"mlp.experts.#.down_proj", "ffn_down_exps"},
    {"feed_forward.experts.#.gate_proj", "ffn_gate_exps"},
    {"feed_forward.experts.#.up_proj", "ffn_up_exps"},
    {"feed_forward.experts.#.down_proj", "ffn_down_exps"},
    {"block_sparse_moe.experts.#.w1", "ffn_gate_exps"},
    {"block_sparse_moe.experts.#.w3", "ffn_up_exps"},
    {"block_sparse_moe.experts.#.w2", "ffn_down_exps"},
    {"block_sparse_moe.experts.#.gate", "ffn_gate_exps"},
    {"block_sparse_moe.experts.#.up", "ffn_up_exps"},
    {"block_sparse_moe.experts.#.down", "ffn_down_exps"},
    {"block_sparse_moe.input_linear", "ffn_gate_up_exps"},
    {"block_sparse_moe.output_linear", "ffn_down_exps"},

    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"feed_forward.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"feed_forward.shared_expert.up_proj", "ffn_up_shexp"},
    {"feed_forward.shared_expert.down_proj", "ffn_down_shexp"},
    {"shared_mlp.input_linear", "ffn_gate_up_shexp"},
    {"shared_mlp.output_linear", "ffn_down_shexp"},
});

/// Names as a whole, behind "model.layers.#." and "blk.#.": parameters that are no module's weight.
constexpr auto kLayerParameters = std::to_array<NameRow>({
    {"self_attn.sinks", "attn_sinks.weight"},
    {"layer_scalar", "layer_output_scale.weight"},
    {"linear_attn.A_log", "ssm_a"},
    {"linear_attn.dt_bias", "ssm_dt.bias"},
    {"router.scale", "ffn_gate_inp.scale"},
    {"router.per_expert_scale", "ffn_down_exps.scale"},
    {"mlp.router_scale", "ffn_down_exps.scale"},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"mlp.gate.expert_bias", "exp_probs_b.bias"},
    {"mlp.e_score_correction_bias", "exp_probs_b.bias"},
    {"mlp.moe_statics.e_score_correction_bias", "exp_probs_b.bias"},
    {"block_sparse_moe.e_score_correction_bias", "exp_probs_b.bias"},

    {"experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"experts.down_proj", "ffn_down_exps.weight"},
    {"mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"mlp.experts.down_proj", "ffn_down_exps.weight"},
    {"mlp.experts.gate_up_proj_bias", "ffn_gate_up_exps.bias"},
    {"mlp.experts.down_proj_bias", "ffn_down_exps.bias"},
    {"mlp.experts.gate_up_proj_blocks", "ffn_gate_up_exps.weight"},
    {"mlp.experts.gate_up_proj_scales", "ffn_gate_up_exps.weight_scale"},
    {"mlp.experts.down_proj_blocks", "ffn_down_exps.weight"},
    {"mlp.experts.down_proj_scales", "ffn_down_exps.weight_scale"},
    {"mlp.experts.gate_up_proj_scale_inv", "ffn_gate_up_exps.weight_scale"},
    {"mlp.experts.down_proj_scale_inv", "ffn_down_exps.weight_scale"},
    {"feed_forward.experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"feed_forward.experts.down_proj", "ffn_down_exps.weight"},
});

/// FP8's scales have two names.
constexpr std::string_view kScaleInverse = ".weight_scale_inv";
constexpr std::string_view kScale = ".weight_scale";

/// A name with its numbers taken out.
struct Pattern {
  std::string text;
  std::vector<std::uint64_t> numbers;
};

Pattern take_numbers(std::string_view name) {
  Pattern pattern;
  while (true) {
    const std::size_t dot = name.find('.');
    const std::string_view part = name.substr(0, dot);
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), number);
    if (parsed.ec == std::errc() && parsed.ptr == part.data() + part.size()) {
      pattern.text += '#';
      pattern.numbers.push_back(number);
    } else {
      pattern.text += part;
    }
    if (dot == std::string_view::npos) return pattern;
    pattern.text += '.';
    name.remove_prefix(dot + 1);
  }
}

const NameRow* find_row(std::span<const NameRow> rows, std::string_view pattern,
                        std::string_view architecture) {
  for (const NameRow& row : rows) {
    if (row.hf != pattern) continue;
    if (row.architecture.empty() || row.architecture == architecture) return &row;
  }
  return nullptr;
}

std::string without_prefix(std::string_view name) {
  for (const PrefixRow& prefix : kPrefixes) {
    if (name.starts_with(prefix.from)) {
      return std::string(prefix.to) + std::string(name.substr(prefix.from.size()));
    }
  }
  return std::string(name);
}

}  // namespace

std::optional<TranslatedName> translate_tensor_name(std::string_view hf_name,
                                                    std::string_view architecture) {
  for (const std::string_view prefix : kIgnoredPrefixes) {
    if (hf_name.starts_with(prefix)) return TranslatedName{};
  }
  for (const std::string_view ending : kIgnoredEndings) {
    if (hf_name.ends_with(ending)) return TranslatedName{};
  }
  const std::string name = without_prefix(hf_name);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  const Pattern pattern = take_numbers(name);
  std::string_view ending = std::string_view(name).substr(dot);
  if (ending == kScaleInverse) ending = kScale;

  constexpr std::string_view kLayer = "model.layers.#.";
  const NameRow* row = nullptr;
  std::string translated;
  if (pattern.text.starts_with(kLayer)) {
    const std::string_view part = std::string_view(pattern.text).substr(kLayer.size());
    translated = "blk." + std::to_string(pattern.numbers.front()) + ".";
    row = find_row(kLayerParameters, part, architecture);
    if (row != nullptr) {
      ending = {};
    } else {
      row = find_row(kLayerNames, part.substr(0, part.rfind('.')), architecture);
    }
    // Still a layer's, so that somebody notices that it was not used.
    if (row == nullptr) {
      const std::size_t number = kLayer.size() - 2;  // "model.layers."
      return TranslatedName{translated + name.substr(name.find('.', number) + 1), std::nullopt};
    }
  } else {
    const std::string_view whole = pattern.text;
    row = find_row(kNames, whole.substr(0, whole.rfind('.')), architecture);
  }
  if (row == nullptr) return std::nullopt;
  if (row->gguf.empty()) return TranslatedName{};
  translated += row->gguf;
  translated += ending;
  if (pattern.numbers.size() > 1) return TranslatedName{translated, pattern.numbers.back()};
  return TranslatedName{translated, std::nullopt};
}

}  // namespace sluice

#include "formats/hf_names.h"

#include <array>
#include <charconv>
#include <vector>

namespace sluice {
namespace {

/// Both names without the last part (".weight", ".bias"), which stays as it is. '#' stands for a
/// number. A name with one '#' more than its translation belongs to one expert: its last number is
/// the expert's.
struct NameRow {
  std::string_view hf;
  std::string_view gguf;               // empty: ignored
  std::string_view architecture = {};  // empty: any; a row for one stands before the row for any
};

constexpr auto kNames = std::to_array<NameRow>({
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},

    {"model.layers.#.input_layernorm", "blk.#.attn_norm"},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q"},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k"},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v"},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output"},
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {"model.layers.#.self_attn.rotary_emb", ""},  // frequencies that old checkpoints stored

    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate"},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up"},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down"},

    {"model.layers.#.mlp.gate", "blk.#.ffn_gate_inp"},
    {"model.layers.#.mlp.experts.#.gate_proj", "blk.#.ffn_gate_exps"},
    {"model.layers.#.mlp.experts.#.up_proj", "blk.#.ffn_up_exps"},
    {"model.layers.#.mlp.experts.#.down_proj", "blk.#.ffn_down_exps"},

    {"model.layers.#.block_sparse_moe.gate", "blk.#.ffn_gate_inp"},
    {"model.layers.#.block_sparse_moe.experts.#.w1", "blk.#.ffn_gate_exps"},
    {"model.layers.#.block_sparse_moe.experts.#.w3", "blk.#.ffn_up_exps"},
    {"model.layers.#.block_sparse_moe.experts.#.w2", "blk.#.ffn_down_exps"},

    {"model.layers.#.mlp.shared_expert.gate_proj", "blk.#.ffn_gate_shexp"},
    {"model.layers.#.mlp.shared_expert.up_proj", "blk.#.ffn_up_shexp"},
    {"model.layers.#.mlp.shared_expert.down_proj", "blk.#.ffn_down_shexp"},
    {"model.layers.#.mlp.shared_expert_gate", "blk.#.ffn_gate_inp_shexp"},
});

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

const NameRow* find_row(std::string_view pattern, std::string_view architecture) {
  for (const NameRow& row : kNames) {
    if (row.hf != pattern) continue;
    if (row.architecture.empty() || row.architecture == architecture) return &row;
  }
  return nullptr;
}

}  // namespace

std::optional<TranslatedName> translate_tensor_name(std::string_view hf_name,
                                                    std::string_view architecture) {
  const std::size_t dot = hf_name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const Pattern pattern = take_numbers(hf_name.substr(0, dot));
  const NameRow* row = find_row(pattern.text, architecture);
  if (row == nullptr) return std::nullopt;
  TranslatedName translated;
  if (row->gguf.empty()) return translated;
  std::size_t used = 0;
  for (const char letter : row->gguf) {
    if (letter == '#') {
      translated.name += std::to_string(pattern.numbers[used++]);
    } else {
      translated.name += letter;
    }
  }
  translated.name += hf_name.substr(dot);
  if (used < pattern.numbers.size()) translated.expert = pattern.numbers.back();
  return translated;
}

}  // namespace sluice

#include "formats/gguf_names.h"

#include <array>
#include <charconv>

namespace sluice {
namespace {

/// Parts of a layer's names. The norm before the feed-forward part has two names in GGUF, one of
/// which other architectures have for the norm after attention.
struct Rename {
  std::string_view architecture;  // empty: any
  std::string_view from;
  std::string_view to;  // empty: ignored
};
constexpr auto kRenames = std::to_array<Rename>({
    {"glm4moe", "post_attention_norm", "ffn_norm"},
    {"gpt-oss", "post_attention_norm", "ffn_norm"},
    {"qwen3next", "post_attention_norm", "ffn_norm"},
    {"qwen35moe", "post_attention_norm", "ffn_norm"},
    {"", "attn_rot_embd", ""},
});

/// Parts of multimodal models and of layers that predict ahead, where a file has them at all.
constexpr auto kIgnoredPrefixes = std::to_array<std::string_view>({"v.", "mm.", "a.", "mtp."});

/// "blk.3.ffn_gate.7.weight" → "blk.3.ffn_gate_exps.weight", 7: how the first Mixtral files kept
/// their experts.
std::optional<GgufName> split_expert_name(std::string_view name) {
  constexpr std::string_view kEnd = ".weight";
  for (const std::string_view stem : {".ffn_gate.", ".ffn_up.", ".ffn_down."}) {
    const std::size_t at = name.find(stem);
    if (at == std::string_view::npos || !name.ends_with(kEnd)) continue;
    const std::size_t digits = at + stem.size();
    if (digits + kEnd.size() >= name.size()) continue;
    const std::string_view number = name.substr(digits, name.size() - kEnd.size() - digits);
    std::uint64_t expert = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), expert);
    if (parsed.ec != std::errc() || parsed.ptr != number.data() + number.size()) continue;
    std::string stacked(name.substr(0, digits - 1));
    return GgufName{stacked + "_exps" + std::string(kEnd), expert};
  }
  return std::nullopt;
}

}  // namespace

GgufName translate_gguf_name(std::string_view name, std::string_view architecture) {
  for (const std::string_view prefix : kIgnoredPrefixes) {
    if (name.starts_with(prefix)) return {};
  }
  if (auto expert = split_expert_name(name)) return *std::move(expert);
  const std::size_t layer = name.starts_with("blk.") ? name.find('.', 4) : std::string_view::npos;
  if (layer == std::string_view::npos) return {std::string(name), std::nullopt};
  const std::string_view part = name.substr(layer + 1);
  const std::string_view stem = part.substr(0, part.rfind('.'));
  for (const Rename& rename : kRenames) {
    if (stem != rename.from) continue;
    if (!rename.architecture.empty() && rename.architecture != architecture) continue;
    if (rename.to.empty()) return {};
    return {std::string(name.substr(0, layer + 1)) + std::string(rename.to) +
                std::string(part.substr(stem.size())),
            std::nullopt};
  }
  return {std::string(name), std::nullopt};
}

}  // namespace sluice

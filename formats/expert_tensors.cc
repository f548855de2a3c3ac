#include "formats/expert_tensors.h"

#include <charconv>

namespace sluice {

std::string expert_tensor_name(std::uint32_t layer, std::string_view matrix) {
  return "blk." + std::to_string(layer) + ".ffn_" + std::string(matrix) + "_exps.weight";
}

std::optional<std::uint32_t> layer_of_experts(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  std::uint32_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc()) return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(end - name.data()));
  for (const std::string_view matrix : kExpertMatrices) {
    if (name == ".ffn_" + std::string(matrix) + "_exps.weight") return layer;
  }
  return std::nullopt;
}

}  // namespace sluice

#include "formats/hf_quantisation.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "formats/hf_settings.h"
#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;

/// Where quantisers describe their work: Transformers', llm-compressor's at first, and MLX's, which
/// stands beside the first as a copy.
constexpr auto kMembers =
    std::to_array<std::string_view>({"quantization_config", "compression_config", "quantization"});

/// What has FP8 codes beside `weight_scale`, MXFP4, or nothing but caches of fewer bits.
struct ReadMethod {
  std::string_view method;
  std::string_view key = {};  // that must have the value; empty: whatever there is
  std::string_view value = {};
};
constexpr auto kReadMethods = std::to_array<ReadMethod>({
    {"fp8"},
    {"mxfp4"},
    {"compressed-tensors", "format", "float-quantized"},
    {"compressed-tensors", "format", "dense"},
    {"modelopt", "quant_algo", "FP8"},
});

/// What tells apart the formats of one method.
constexpr auto kVariants = std::to_array<std::string_view>({"format", "quant_algo"});

struct Found {
  const json* node;
  std::string_view name;
};

std::optional<Found> find_member(const json& config) {
  for (const json* place : {&config, &text_config(config)}) {
    for (const std::string_view name : kMembers) {
      const json* node = json_member(*place, name);
      if (node != nullptr && node->is_object() && !node->empty()) return Found{node, name};
    }
  }
  return std::nullopt;
}

Result<ScaleBlock> read_block(const json& node) {
  SLUICE_ASSIGN(const auto sizes, json_integers(node, "weight_block_size"));
  if (sizes.empty()) return ScaleBlock();
  constexpr std::int64_t kMost = 1 << 24;
  const auto outside = [](std::int64_t size) { return size < 1 || size > kMost; };
  if (sizes.size() != 2 || std::ranges::any_of(sizes, outside)) {
    return Status(ErrorCode::kCorrupt, "'weight_block_size' is not a pair of extents");
  }
  return ScaleBlock({static_cast<std::uint64_t>(sizes[0]), static_cast<std::uint64_t>(sizes[1])});
}

/// MLX names no method, nor did the first bitsandbytes.
Result<std::string> unnamed_method(const json& node) {
  for (const std::string_view key : {"load_in_4bit", "load_in_8bit"}) {
    SLUICE_ASSIGN(const auto wanted, json_value<bool>(node, key));
    if (wanted.value_or(false)) return std::string("bitsandbytes");
  }
  SLUICE_ASSIGN(const auto bits, json_value<std::int64_t>(node, "bits"));
  if (!bits) return std::string();
  return "MLX or the like, " + std::to_string(*bits) + " bits";
}

}  // namespace

Result<Quantisation> read_quantisation(const json& config) {
  Quantisation found;
  const auto member = find_member(config);
  if (!member) return found;
  const json& node = *member->node;
  found.key = member->name;
  SLUICE_ASSIGN(found.block, read_block(node));
  SLUICE_ASSIGN(const auto method, json_value<std::string>(node, "quant_method"));
  if (!method) {
    SLUICE_ASSIGN(found.unread, unnamed_method(node));
    return found;
  }
  found.key += ".quant_method";
  for (const ReadMethod& row : kReadMethods) {
    if (row.method != *method) continue;
    if (row.key.empty()) return found;
    SLUICE_ASSIGN(const auto value, json_value<std::string>(node, row.key));
    if (value == row.value) return found;
  }
  found.unread = *method;
  for (const std::string_view key : kVariants) {
    SLUICE_ASSIGN(const auto variant, json_value<std::string>(node, key));
    if (variant) found.unread += ", " + *variant;
  }
  return found;
}

}  // namespace sluice

#pragma once
// What every setting of a checkpoint means. Keys are GGUF's, without the architecture's prefix,
// where GGUF has one for the fact; facts that GGUF leaves to the reader's knowledge of the
// architecture have keys of our own (attention.qk_norm, router.…, norm.…). The table in settings.cc
// is the one place that defines them: kind, range, what absence means, meaning.
//
// A GGUF file and a Hugging Face folder of the same model have the same settings. Only
// rope.interleaved and ssm.value_heads_tiled are the container's own: converters reorder q and k,
// or the value heads, and here it says which order there is.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

enum class SettingKind : std::uint8_t {
  kInteger,
  kReal,
  kBoolean,
  kText,
  kReals,          // a list
  kLayerIntegers,  // one for all layers, or a list with one for each
  kLayerReals,     // the same
  kLayerFlags,     // a list of 0 and 1 with one for each layer
};

struct SettingRule {
  std::string_view key;
  SettingKind kind;
  double least;  // of numbers
  double most;
  std::string_view plain;  // what absence means, as setting_text writes it; empty: nothing is said
  std::string_view meaning;
};

std::span<const SettingRule> setting_rules();
const SettingRule* find_setting_rule(std::string_view key);

/// kCorrupt names the first setting that is of the wrong kind, out of range, or not one for each
/// layer.
Status check_settings(const Checkpoint& checkpoint);

/// A kLayerIntegers, kLayerFlags or kLayerReals setting as a list with one for each of `layers`
/// layers; `otherwise` where there is none.
Result<std::vector<std::int64_t>> layer_integers(const Checkpoint& checkpoint, std::string_view key,
                                                 std::size_t layers, std::int64_t otherwise);
Result<std::vector<double>> layer_reals(const Checkpoint& checkpoint, std::string_view key,
                                        std::size_t layers, double otherwise);

/// For people: "true", "0.5", "[1, 0, 1]".
std::string setting_text(const Setting& setting);

}  // namespace sluice

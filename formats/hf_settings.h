#pragma once
// config.json and generation_config.json → the settings that a GGUF file of the same model would
// have.

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "formats/architectures.h"
#include "formats/checkpoint.h"

namespace sluice {

/// The part of config.json that describes the language model: the whole, or a member of a
/// multimodal checkpoint's.
const nlohmann::json& text_config(const nlohmann::json& config);

/// Sets checkpoint.architecture and the settings, and gives the row of the table that they follow.
/// kCorrupt names the key whose value is of the wrong kind. An architecture that is not in the
/// table (null) keeps its model_type as its name, and its other plain values under "config.<key>".
/// checkpoint.setting_names gets the keys that settings were read from.
Result<const Architecture*> translate_config(const nlohmann::json& config, Checkpoint& checkpoint);

/// The sampling that the model's makers recommend, where they sample at all.
Status translate_generation_config(const nlohmann::json& generation, Checkpoint& checkpoint);

}  // namespace sluice

#pragma once
// config.json and generation_config.json → the settings that a GGUF file of the same model would
// have.

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

/// Sets checkpoint.architecture and the settings. kCorrupt names the key whose value is of the
/// wrong kind. An architecture that is not in the table keeps its model_type as its name, and its
/// other plain values under "config.<key>".
Status translate_config(const nlohmann::json& config, Checkpoint& checkpoint);

/// The sampling that the model's makers recommend, where they sample at all.
Status translate_generation_config(const nlohmann::json& generation, Checkpoint& checkpoint);

}  // namespace sluice

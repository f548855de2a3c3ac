#pragma once
// RoPE in config.json: rope_theta and rope_scaling of old, rope_parameters of new, both for all
// layers or for each kind.

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "formats/architectures.h"
#include "formats/setting_editor.h"

namespace sluice {

/// `config` is the language model's. REQUIRES: what it says of layers is translated.
Status translate_hf_rope(const nlohmann::json& config, const Architecture* architecture,
                         SettingEditor& settings);

}  // namespace sluice

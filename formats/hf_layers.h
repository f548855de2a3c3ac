#pragma once
// What config.json says of single layers: windows, RoPE or none, attention or recurrence.

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "formats/architectures.h"
#include "formats/setting_editor.h"

namespace sluice {

/// `config` is the language model's. For an architecture that is not in the table (null) only what
/// is said outright is taken.
Status translate_hf_layers(const nlohmann::json& config, const Architecture* architecture,
                           SettingEditor& settings);

}  // namespace sluice

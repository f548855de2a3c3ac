#pragma once
// What Transformers fills in where a config.json leaves a key out. It writes the parts of a
// multimodal config without what is as usual, and other tools shorten further.

#include <nlohmann/json.hpp>

#include "formats/architectures.h"

namespace sluice {

/// `config` with the defaults of its model_type's configuration class. A key that is there stays as
/// it is, null too; so does a config whose class is not Transformers' own.
nlohmann::json with_defaults(const nlohmann::json& config, const Architecture& architecture);

}  // namespace sluice

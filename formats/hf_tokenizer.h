#pragma once
// The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer_config.json,
// chat_template.jinja.

#include <string>

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "base/tokenizer_data.h"

namespace sluice {

/// `config` and `generation` are config.json and generation_config.json (or null): they name ids
/// too. A folder without a tokenizer, or with one that does something this build cannot, gives
/// model kNone and the reason in `unusable`; kCorrupt names the file.
Result<TokenizerData> read_hf_tokenizer(const std::string& folder, const nlohmann::json& config,
                                        const nlohmann::json& generation);

}  // namespace sluice

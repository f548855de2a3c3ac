#pragma once
// A folder as the Hugging Face hub has it: config.json, generation_config.json, model*.safetensors,
// tokenizer.json, tokenizer_config.json, chat_template.jinja.

#include <string>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

Result<Checkpoint> open_hugging_face(const std::string& folder, CheckpointParts parts);

}  // namespace sluice

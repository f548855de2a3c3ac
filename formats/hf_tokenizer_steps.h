#pragma once
// The parts of tokenizer.json that say what happens around the model: normaliser, pre-tokenizer,
// post-processor.

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "base/tokenizer_data.h"

namespace sluice {

/// `node` is the member "normalizer". Sets `marks_spaces` where spaces become "▁". kUnsupported
/// names what cannot be done.
Status read_normalizer(const nlohmann::json* node, TokenizerData& data, bool& marks_spaces);

/// `node` is the member "pre_tokenizer". Sets `data.model` to byte level where it says so, and
/// `marks_spaces` likewise.
Status read_pre_tokenizer(const nlohmann::json* node, TokenizerData& data, bool& marks_spaces);

/// `node` is the member "post_processor": which special tokens stand around a text.
Status read_post_processor(const nlohmann::json* node, TokenizerData& data);

}  // namespace sluice

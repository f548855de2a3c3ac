#pragma once
// The chat template that a verb goes by.

#include <cstdint>
#include <string>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/chat_format.h"

namespace sluice::apps {

/// A conversation is a short text beside a model, and the memory is the budget's: a template that
/// takes more is up to something.
ChatTemplateLimits template_limits(std::uint32_t context);

/// Of `file`, which --template gave, else the checkpoint's own. kNotFound: there is none.
Result<ChatFormat> chat_format(const std::string& model, const std::string& file,
                               const TokenizerData& tokenizer, const ChatTemplateLimits& limits);

}  // namespace sluice::apps

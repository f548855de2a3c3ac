#pragma once
// A prompt's continuation, streamed as text.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/writer.h"

namespace sluice {

struct Generation {
  std::string text;
  std::vector<TokenId> tokens;
  StopReason reason = StopReason::kMaxTokens;
  std::size_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double first_token_seconds = 0;
  double decode_seconds = 0;  // of all tokens after the first
  std::size_t decoded = 0;    // passes in decode_seconds
};

/// Appends `prompt` to the session and continues it. `on_text` gets whole characters as they become
/// certain. On an error the session keeps what was computed before; a prompt that was cancelled is
/// no error, and the session is without it. Without a tokenizer, text stays empty.
Result<Generation> generate(Session& session, const std::vector<TokenId>& prompt,
                            const GenerateOptions& options,
                            const std::function<void(std::string_view)>& on_text);

}  // namespace sluice

#pragma once
// A prompt's continuation, streamed as text.

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/session.h"

namespace sluice {

struct GenerateOptions {
  std::uint32_t max_tokens = 256;
  SamplerOptions sampling = {};
  std::vector<std::string> stop = {};  // the text ends before the first of these
  bool context_shift = false;  // when the context is full, the newer half of the text is computed
                               // anew as its beginning; a prompt that does not fit is cut as if it
                               // had come token by token
  bool ignore_end = false;     // end-of-generation tokens do not end it
  bool own_text = false;  // a text of its own and not the prompt's continuation: the space that
                          // a tokenizer puts before a text is not shown
  std::vector<TokenId> end_tokens = {};    // end it too, besides the tokenizer's
  std::vector<TokenId> shown_tokens = {};  // control tokens that are shown
  PassOptions pass = {};
};

enum class StopReason { kEndOfText, kStopString, kMaxTokens, kContextFull, kCancelled };

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

/// How many of the first of `length` tokens a context of `context` loses by shifting until the rest
/// fits. What was dropped of a part makes no difference to what is dropped of the whole.
std::size_t shifted_out(std::size_t length, std::size_t context);

/// Appends `prompt` to the session and continues it. `on_text` gets whole characters as they become
/// certain. On an error the session keeps what was computed before; a prompt that was cancelled is
/// no error, and the session is without it. Without a tokenizer, text stays empty.
Result<Generation> generate(Session& session, const std::vector<TokenId>& prompt,
                            const GenerateOptions& options,
                            const std::function<void(std::string_view)>& on_text);

}  // namespace sluice

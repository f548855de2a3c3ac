#pragma once
// A text that somebody wants continued, and how he hears of it.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/continuation.h"

namespace sluice {

struct Request {
  std::vector<TokenId> prompt = {};  // not empty
  GenerateOptions options = {};      // without context_shift and pass, which are the batcher's
  bool wants_logits = false;         // RequestListener::logits is called …
  bool wants_prompt_logits = false;  // … and prompt_logits: no part of it is reused then
};

/// What became of a request.
struct Outcome {
  Status status;                               // kCancelled: somebody wanted that
  StopReason reason = StopReason::kCancelled;  // of an ok one
  std::size_t prompt_tokens = 0;
  std::size_t reused_tokens = 0;  // of these, those that an earlier request had left in a session
  std::size_t tokens = 0;
  double queued_seconds = 0;       // before anything of it was computed
  double first_token_seconds = 0;  // from its arrival; 0: there was none
  double seconds = 0;              // to its end
};

/// Called by the batcher's thread, one call after the other; whoever takes long holds up all
/// requests.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  /// `[vocabulary]`, of the token at this position of the prompt: by the last one's the first token
  /// is chosen.
  virtual void prompt_logits(std::size_t /*position*/, std::span<const float>) {}
  /// `[vocabulary]`, by which the next token is chosen; valid during the call.
  virtual void logits(std::span<const float>) {}
  /// One more, and the text that became certain with it, maybe none.
  virtual void token(TokenId token, std::string_view text) = 0;
  /// The last call. `text`: what was held back until then.
  virtual void ended(const Outcome& outcome, std::string_view text) = 0;
};

}  // namespace sluice

#pragma once
// How a text goes on: which token is next, what it reads, and whether it was the last. Who computes
// logits is nobody's business here.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/forward_pass.h"
#include "engine/sampler.h"
#include "engine/stop_filter.h"
#include "text/tokenizer.h"

namespace sluice {

struct GenerateOptions {
  std::uint32_t max_tokens = 256;
  SamplerOptions sampling = {};
  std::vector<std::string> stop = {};  // the text ends before the first of these
  bool context_shift = false;  // when the context is full, the newer half of the text is computed
                               // anew as its beginning; a prompt that does not fit is cut as if it
                               // had come token by token; a Writer's business
  bool ignore_end = false;     // end-of-generation tokens do not end it
  bool own_text = false;  // a text of its own and not the prompt's continuation: the space that
                          // a tokenizer puts before a text is not shown
  std::vector<TokenId> end_tokens = {};    // end it too, besides the tokenizer's
  std::vector<TokenId> shown_tokens = {};  // control tokens that are shown
  PassOptions pass = {};                   // likewise
};

enum class StopReason { kEndOfText, kStopString, kMaxTokens, kContextFull, kCancelled };

/// REQUIRES: options.max_tokens > 0.
class Continuation {
 public:
  /// `history`: the tokens before it. `tokenizer`, which is borrowed, may be null: then there is no
  /// text.
  Continuation(const Tokenizer* tokenizer, const GenerateOptions& options,
               std::vector<TokenId> history);

  /// The next token, by the logits `[vocabulary]` of the last one. kCorrupt: they are no numbers.
  Status choose(std::span<const float> logits);
  /// Adds what was chosen, unless that ends the text; the text that became certain.
  std::string accept();
  /// Somebody else ends it; the text that was held back.
  std::string end(StopReason reason);

  const std::vector<TokenId>& tokens() const { return tokens_; }
  bool ended() const { return reason_.has_value(); }
  /// REQUIRES: ended().
  StopReason reason() const { return *reason_; }

 private:
  bool ends(TokenId token) const;

  const Tokenizer* const tokenizer_;
  const GenerateOptions options_;
  Sampler sampler_;
  std::optional<Detokenizer> detokenizer_;
  StopFilter filter_;
  std::vector<TokenId> history_, tokens_;
  TokenId chosen_ = 0;
  std::optional<StopReason> reason_;
};

}  // namespace sluice

#pragma once
// Answers as OpenAI's clients read them: whole ones, and the chunks of streamed ones.

#include <cstdint>
#include <string>
#include <vector>

#include "engine/continuation.h"
#include "server/openai_request.h"
#include "server/token_logprobs.h"
#include "serving/request.h"
#include "text/tokenizer.h"

namespace sluice::server {

/// What all chunks of an answer have in common.
struct ReplyHead {
  std::string id;  // "chatcmpl-…"
  std::string model;
  std::int64_t created = 0;  // seconds since 1970
  bool chat = false;
};

/// A whole answer, or what there is of it so far.
struct ReplyChoice {
  std::string text, reasoning;
  std::vector<TokenLogprobs> logprobs;
  bool with_logprobs = false;
  const char* finish = nullptr;  // "stop" or "length"; null: it goes on
};

struct ReplyUsage {
  std::size_t prompt = 0, reused = 0, answers = 0;  // tokens
  Json json() const;
};

const char* finish_reason(StopReason reason);
/// `chat.completion` or `text_completion`.
Json whole_reply(const ReplyHead& head, const std::vector<ReplyChoice>& choices,
                 const ReplyUsage& usage, const Tokenizer& tokenizer);
/// A chunk of one answer. `first`: of a chat, it says who speaks.
Json chunk_reply(const ReplyHead& head, std::size_t index, const ReplyChoice& part, bool first,
                 const Tokenizer& tokenizer);
/// The last chunk, where usage was asked for.
Json usage_reply(const ReplyHead& head, const ReplyUsage& usage);

}  // namespace sluice::server

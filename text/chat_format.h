#pragma once
// How a model wants a conversation written: its chat template, and what follows from it.

#include <cstddef>
#include <ctime>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/chat_template.h"

namespace sluice {

/// Immutable: any number of threads may use one.
class ChatFormat {
 public:
  /// `source`: Jinja. Of `tokenizer`, the texts of its special tokens are kept. Errors are those of
  /// ChatTemplate::parse.
  static Result<ChatFormat> create(std::string_view source, const TokenizerData& tokenizer,
                                   const ChatTemplateLimits& limits = {});

  /// The prompt for `variables`, an object with "messages", as Transformers makes it
  /// (chat_request.h); "bos_token" and its like are added where they are missing. Errors are those
  /// of prepare_chat and ChatTemplate::render.
  Result<std::string> render(nlohmann::ordered_json variables, const std::tm& now) const;

  /// What the template writes between an assistant's words and the next message: how a turn ends.
  /// White space around it is left out, but for newlines before it. Empty where it cannot be told.
  std::string turn_end(const std::tm& now) const;

  /// The assistant's message.
  static nlohmann::ordered_json answer(const std::string& text, const std::string& reasoning);

 private:
  ChatFormat(std::string_view source, ChatTemplate parsed, const ChatTemplateLimits& limits)
      : source_(source), template_(std::move(parsed)), limits_(limits) {}

  std::string between(const nlohmann::ordered_json& messages, const std::tm& now) const;

  std::string source_;
  ChatTemplate template_;
  ChatTemplateLimits limits_;
  std::vector<std::pair<std::string, std::string>> tokens_;  // "bos_token" and its text …
};

/// The text of an id as templates and users write it.
std::string special_token_text(const TokenizerData& tokenizer, TokenId id);

}  // namespace sluice

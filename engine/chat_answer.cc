#include "engine/chat_answer.h"

#include <algorithm>
#include <string>

#include "text/answer_splitter.h"

namespace sluice {
namespace {

bool is_control(const Tokenizer& tokenizer, TokenId id) {
  return tokenizer.piece(id).empty() && !tokenizer.piece(id, true).empty();
}

}  // namespace

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, std::string_view prompt) {
  return tokenizer.encode(prompt, {.add_special = false, .parse_special = true});
}

void make_answer(const ChatFormat& format, const Tokenizer& tokenizer, const std::tm& now,
                 GenerateOptions& options) {
  options.own_text = true;
  const std::string end = format.turn_end(now);
  if (!end.empty() && !options.ignore_end) {
    const std::string_view token =
        std::string_view(end).substr(std::min(end.find_first_not_of('\n'), end.size()));
    const std::vector<TokenId> ids = encode_chat(tokenizer, token);
    if (!ids.empty() && is_control(tokenizer, ids.front())) {
      options.end_tokens.push_back(ids.front());
    } else {
      options.stop.push_back(end);
    }
  }
  for (const std::string_view text : AnswerSplitter::markup()) {
    const std::vector<TokenId> ids = encode_chat(tokenizer, text);
    if (ids.size() == 1) options.shown_tokens.push_back(ids.front());
  }
}

}  // namespace sluice

#pragma once
// How an answer in a chat differs from any other continuation.

#include <ctime>

#include "engine/continuation.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace sluice {

/// A rendered conversation as ids: BOS and its like are the template's affair.
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, std::string_view prompt);

/// What the template ends a turn with ends an answer, beside what the checkpoint lists: a token
/// where the vocabulary has it as one, else the text. Tokens that AnswerSplitter must see are
/// shown. The answer is a text of its own.
void make_answer(const ChatFormat& format, const Tokenizer& tokenizer, const std::tm& now,
                 GenerateOptions& options);

}  // namespace sluice

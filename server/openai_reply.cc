#include "server/openai_reply.h"

#include <algorithm>
#include <utility>

namespace sluice::server {
namespace {

Json head_json(const ReplyHead& head, const char* chat_object) {
  return {{"id", head.id},
          {"object", head.chat ? chat_object : "text_completion"},
          {"created", head.created},
          {"model", head.model}};
}

/// JSON's texts are whole characters; a token may be a part of one.
std::string piece_of(const Tokenizer& tokenizer, TokenId token) {
  return tokenizer.piece(token, /*show_special=*/true);
}

Json bytes_of(const std::string& piece) {
  Json bytes = Json::array();
  for (const char byte : piece) bytes.push_back(static_cast<unsigned char>(byte));
  return bytes;
}

Json chat_logprob(const TokenLogprob& one, const Tokenizer& tokenizer) {
  const std::string piece = piece_of(tokenizer, one.token);
  return {{"token", piece}, {"logprob", one.logprob}, {"bytes", bytes_of(piece)}};
}

Json chat_logprobs(const std::vector<TokenLogprobs>& all, const Tokenizer& tokenizer) {
  Json content = Json::array();
  for (const TokenLogprobs& one : all) {
    Json entry = chat_logprob(one.own, tokenizer);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& likely : one.top) {
      entry["top_logprobs"].push_back(chat_logprob(likely, tokenizer));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

Json text_logprobs(const std::vector<TokenLogprobs>& all, const Tokenizer& tokenizer) {
  Json tokens = Json::array(), own = Json::array(), top = Json::array(), offsets = Json::array();
  std::size_t offset = 0;
  for (const TokenLogprobs& one : all) {
    const std::string piece = piece_of(tokenizer, one.own.token);
    tokens.push_back(piece);
    own.push_back(one.own.logprob);
    offsets.push_back(offset);
    offset += piece.size();
    Json likely = Json::object();
    for (const TokenLogprob& other : one.top) {
      likely[piece_of(tokenizer, other.token)] = other.logprob;
    }
    top.push_back(std::move(likely));
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(own)},
          {"top_logprobs", std::move(top)},
          {"text_offset", std::move(offsets)}};
}

Json logprobs_json(bool chat, const ReplyChoice& choice, const Tokenizer& tokenizer) {
  if (!choice.with_logprobs || choice.logprobs.empty()) return nullptr;
  return chat ? chat_logprobs(choice.logprobs, tokenizer)
              : text_logprobs(choice.logprobs, tokenizer);
}

Json finish_json(const ReplyChoice& choice) {
  return choice.finish == nullptr ? Json() : Json(choice.finish);
}

}  // namespace

Json ReplyUsage::json() const {
  return {{"prompt_tokens", prompt},
          {"completion_tokens", answers},
          {"total_tokens", prompt + answers},
          {"prompt_tokens_details", {{"cached_tokens", reused}}}};
}

const char* finish_reason(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfText:
    case StopReason::kStopString:
      return "stop";
    case StopReason::kMaxTokens:
    case StopReason::kContextFull:
    case StopReason::kCancelled:
      break;
  }
  return "length";
}

Json whole_reply(const ReplyHead& head, const std::vector<ReplyChoice>& choices,
                 const ReplyUsage& usage, const Tokenizer& tokenizer) {
  Json reply = head_json(head, "chat.completion");
  reply["choices"] = Json::array();
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const ReplyChoice& choice = choices[i];
    Json json = {{"index", i}};
    if (head.chat) {
      json["message"] = {{"role", "assistant"}, {"content", choice.text}};
      if (!choice.reasoning.empty()) json["message"]["reasoning_content"] = choice.reasoning;
    } else {
      json["text"] = choice.text;
    }
    json["logprobs"] = logprobs_json(head.chat, choice, tokenizer);
    json["finish_reason"] = finish_json(choice);
    reply["choices"].push_back(std::move(json));
  }
  reply["usage"] = usage.json();
  return reply;
}

Json chunk_reply(const ReplyHead& head, std::size_t index, const ReplyChoice& part, bool first,
                 const Tokenizer& tokenizer) {
  Json reply = head_json(head, "chat.completion.chunk");
  Json json = {{"index", index}};
  if (head.chat) {
    json["delta"] = Json::object();
    if (first) json["delta"]["role"] = "assistant";
    if (first || !part.text.empty()) json["delta"]["content"] = part.text;
    if (!part.reasoning.empty()) json["delta"]["reasoning_content"] = part.reasoning;
  } else {
    json["text"] = part.text;
  }
  json["logprobs"] = logprobs_json(head.chat, part, tokenizer);
  json["finish_reason"] = finish_json(part);
  reply["choices"] = Json::array({std::move(json)});
  return reply;
}

Json usage_reply(const ReplyHead& head, const ReplyUsage& usage) {
  Json reply = head_json(head, "chat.completion.chunk");
  reply["choices"] = Json::array();
  reply["usage"] = usage.json();
  return reply;
}

}  // namespace sluice::server

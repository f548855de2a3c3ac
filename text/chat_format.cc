#include "text/chat_format.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "text/chat_request.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

// No template writes these by itself.
const std::string kFirstMark = "7c1a5d0e", kSecondMark = "e94b2f63";

Json message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

}  // namespace

std::string special_token_text(const TokenizerData& tokenizer, TokenId id) {
  for (const AddedToken& token : tokenizer.added) {
    if (token.id == id) return token.text;
  }
  const auto index = static_cast<std::size_t>(id);
  return id >= 0 && index < tokenizer.tokens.size() ? std::string(tokenizer.tokens[index])
                                                    : std::string();
}

Result<ChatFormat> ChatFormat::create(std::string_view source, const TokenizerData& tokenizer,
                                      const ChatTemplateLimits& limits) {
  SLUICE_ASSIGN(ChatTemplate parsed, ChatTemplate::parse(source));
  ChatFormat format(source, std::move(parsed), limits);
  const std::pair<const char*, std::optional<TokenId>> tokens[] = {
      {"bos_token", tokenizer.bos},
      {"eos_token", tokenizer.eos},
      {"unk_token", tokenizer.unknown},
      {"pad_token", tokenizer.padding}};
  for (const auto& [name, id] : tokens) {
    if (id) format.tokens_.emplace_back(name, special_token_text(tokenizer, *id));
  }
  return format;
}

Result<std::string> ChatFormat::render(Json variables, const std::tm& now) const {
  SLUICE_ASSIGN(ChatRequest request, prepare_chat(std::move(variables), source_));
  for (const auto& [name, text] : tokens_) {
    if (!request.variables.contains(name)) request.variables[name] = text;
  }
  SLUICE_ASSIGN(std::string text, template_.render(request.variables, now, limits_));
  return request.finish(std::move(text));
}

/// What stands between the first mark and the second, or the end.
std::string ChatFormat::between(const Json& messages, const std::tm& now) const {
  const auto text = render(Json{{"messages", messages}}, now);
  if (!text.ok()) return {};
  const std::size_t at = text->find(kFirstMark);
  if (at == std::string::npos) return {};
  const std::string rest = text->substr(at + kFirstMark.size());
  return rest.substr(0, rest.find(kSecondMark));
}

std::string ChatFormat::turn_end(const std::tm& now) const {
  Json messages = {message("user", "Hello"), message("assistant", kFirstMark)};
  constexpr std::string_view kSpaces = " \t\r\n";
  std::string end = between(messages, now);
  if (end.find_first_not_of(kSpaces) == std::string::npos) {
    messages.push_back(message("user", kSecondMark));
    end = between(messages, now);
  }
  end.erase(end.find_last_not_of(kSpaces) + 1);
  return end.substr(std::min(end.find_first_not_of(" \t"), end.size()));
}

Json ChatFormat::answer(const std::string& text, const std::string& reasoning) {
  Json answer = message("assistant", text);
  if (!reasoning.empty()) answer["reasoning_content"] = reasoning;
  return answer;
}

}  // namespace sluice

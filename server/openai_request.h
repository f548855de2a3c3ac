#pragma once
// What OpenAI's clients ask for, checked field by field.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "engine/continuation.h"

namespace sluice::server {

using Json = nlohmann::ordered_json;

/// A request that cannot be served, as OpenAI's clients expect to hear of it.
struct ApiError {
  int http = 400;
  std::string type = "invalid_request_error";
  std::string message;
  std::string field;  // empty: no field's
  std::string code;   // for programs, or empty

  /// What went wrong inside.
  static ApiError from(const Status& status);
  Json json() const;
};

template <typename T>
using Parsed = std::variant<T, ApiError>;

/// What both kinds of completions have.
struct CommonRequest {
  std::string model;
  GenerateOptions generate;               // max_tokens: kAsManyAsFit where nothing is said
  std::uint32_t n = 1;                    // answers to each prompt
  std::optional<std::uint32_t> logprobs;  // of each token: its own, and of so many likely ones
  bool stream = false;
  bool include_usage = false;  // streamed: at the end
  static constexpr std::uint32_t kAsManyAsFit = ~0u;
};

struct CompletionRequest : CommonRequest {
  std::vector<std::variant<std::string, std::vector<TokenId>>> prompts;
  bool echo = false;  // the answer begins with the prompt, whose tokens have logprobs, too
};

struct ChatRequestBody : CommonRequest {
  Json variables;  // of the chat template: "messages", "tools" …
};

/// Both refuse what they cannot do, by the field's name.
Parsed<CompletionRequest> parse_completion(std::string_view body);
Parsed<ChatRequestBody> parse_chat(std::string_view body);

}  // namespace sluice::server

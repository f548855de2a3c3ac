#include "server/openai_request.h"

#include <fmt/format.h>

#include <random>
#include <utility>

#include "server/fields.h"
#include "text/chat_json.h"

namespace sluice::server {
namespace {

constexpr std::uint64_t kMostTokens = std::uint64_t{1} << 24;
constexpr std::uint64_t kMostAnswers = 128, kMostPrompts = 1024, kMostStops = 16;

ApiError not_json(const std::string& why) {
  ApiError error;
  error.message = "the body " + why;
  return error;
}

Parsed<Json> parse_object(std::string_view body) {
  auto parsed = parse_chat_json(body);
  if (!parsed.ok()) return not_json(parsed.status().message());
  if (!parsed->is_object()) return not_json("is no JSON object");
  return std::move(*parsed);
}

/// Those that clients send though they change nothing are passed over: user, store, metadata …
void read_common(Fields& fields, CommonRequest& request) {
  request.model = fields.text("model", "");
  GenerateOptions& generate = request.generate;
  generate.sampling.temperature = static_cast<float>(fields.number("temperature", 1.0, 0.0, 100.0));
  generate.sampling.top_p = static_cast<float>(fields.number("top_p", 1.0, 0.0, 1.0));
  generate.sampling.top_k = static_cast<std::uint32_t>(fields.integer("top_k", 0, 0, kMostTokens));
  generate.sampling.min_p = static_cast<float>(fields.number("min_p", 0.0, 0.0, 1.0));
  generate.sampling.repeat_penalty =
      static_cast<float>(fields.number("repetition_penalty", 1.0, 0.01, 100.0));
  // Who does not care for it gets another answer each time.
  generate.sampling.seed =
      fields.integer("seed", std::random_device()(), 0, ~std::uint64_t{0} >> 11);
  generate.ignore_end = fields.boolean("ignore_eos", false);
  generate.stop = fields.texts("stop", kMostStops);
  request.n = static_cast<std::uint32_t>(fields.integer("n", 1, 1, kMostAnswers));
  request.stream = fields.boolean("stream", false);
  if (const Json* const options = fields.find("stream_options")) {
    if (!options->is_object())
      return fields.fail("stream_options", "'stream_options' is no object");
    if (!request.stream) {
      return fields.fail("stream_options", "'stream_options' is for streams: set 'stream'");
    }
    Fields inner(*options);
    request.include_usage = inner.boolean("include_usage", false);
    if (inner.error()) fields.fail("stream_options", inner.error()->message);
  }
  fields.refuse("presence_penalty", 0, "'repetition_penalty' is");
  fields.refuse("frequency_penalty", 0, "'repetition_penalty' is");
  fields.refuse("logit_bias", Json::object(), "no token's logit can be changed");
}

/// At most one of the two names.
std::uint32_t read_max_tokens(Fields& fields, std::uint32_t usual) {
  const char* const name =
      fields.find("max_completion_tokens") != nullptr ? "max_completion_tokens" : "max_tokens";
  return static_cast<std::uint32_t>(fields.integer(name, usual, 0, kMostTokens));
}

bool is_token(const Json& value) {
  return value.is_number_integer() && value >= 0 && value <= INT32_MAX;
}

void read_prompts(Fields& fields, CompletionRequest& request) {
  const Json* const prompt = fields.find("prompt");
  const auto wrong = [&] {
    fields.fail("prompt", "'prompt' is no string, list of strings, list of tokens or list of such");
  };
  if (prompt == nullptr) return fields.fail("prompt", "'prompt' is missing");
  if (prompt->is_string()) return request.prompts.emplace_back(prompt->get<std::string>()), void();
  if (!prompt->is_array() || prompt->empty()) return wrong();
  const auto tokens = [](const Json& list) {
    std::vector<TokenId> ids;
    for (const Json& id : list) ids.push_back(id.get<TokenId>());
    return ids;
  };
  const auto all_tokens = [](const Json& list) {
    return list.is_array() && std::ranges::all_of(list, is_token);
  };
  if (all_tokens(*prompt)) return request.prompts.emplace_back(tokens(*prompt)), void();
  if (prompt->size() > kMostPrompts) {
    return fields.fail("prompt", fmt::format("'prompt' has more than {} texts", kMostPrompts));
  }
  for (const Json& one : *prompt) {
    if (one.is_string()) {
      request.prompts.emplace_back(one.get<std::string>());
    } else if (all_tokens(one)) {
      request.prompts.emplace_back(tokens(one));
    } else {
      return wrong();
    }
  }
}

/// What goes to the template: everything that is said of the conversation.
void read_conversation(Fields& fields, const Json& body, ChatRequestBody& request) {
  const Json& messages = body["messages"];
  if (messages.is_array() && messages.empty()) fields.fail("messages", "'messages' is empty");
  auto conversation =
      conversation_of(Json{{"messages", messages}, {"add_generation_prompt", true}});
  if (!conversation.ok()) return fields.fail("messages", conversation.status().message());
  request.variables = std::move(*conversation);
  for (const char* const name : {"tools", "documents", "reasoning_effort", "add_generation_prompt",
                                 "continue_final_message"}) {
    if (const Json* const value = fields.find(name)) request.variables[name] = *value;
  }
  if (const Json* const more = fields.find("chat_template_kwargs")) {
    if (!more->is_object()) {
      return fields.fail("chat_template_kwargs", "'chat_template_kwargs' is no object");
    }
    for (const auto& [name, value] : more->items()) request.variables[name] = value;
  }
}

}  // namespace

ApiError ApiError::from(const Status& status) {
  ApiError error;
  error.message = status.message();
  switch (status.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported:
    case ErrorCode::kNotFound:
      return error;
    case ErrorCode::kBudget:
      error.http = 429;
      error.type = "rate_limit_error";
      error.code = "overloaded";
      return error;
    case ErrorCode::kCancelled:
      error.http = 503;
      error.type = "server_error";
      error.code = "shutting_down";
      return error;
    default:
      error.http = 500;
      error.type = "server_error";
      return error;
  }
}

Json ApiError::json() const {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return {
      {"error",
       {{"message", message}, {"type", type}, {"param", or_null(field)}, {"code", or_null(code)}}}};
}

Parsed<CompletionRequest> parse_completion(std::string_view body) {
  auto parsed = parse_object(body);
  if (ApiError* const error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  Fields fields(std::get<Json>(parsed));
  CompletionRequest request;
  read_common(fields, request);
  read_prompts(fields, request);
  constexpr std::uint32_t kUsualTokens = 16, kMostLogprobs = 20;  // the first as OpenAI has it
  request.generate.max_tokens = read_max_tokens(fields, kUsualTokens);
  request.echo = fields.boolean("echo", false);
  if (fields.find("logprobs") != nullptr) {
    request.logprobs = static_cast<std::uint32_t>(fields.integer("logprobs", 0, 0, kMostLogprobs));
  }
  fields.refuse("suffix", "", "a text cannot be completed in its middle");
  if (fields.integer("best_of", request.n, 1, kMostAnswers) != request.n) {
    fields.fail("best_of", "'best_of' is not supported: ask for 'n' answers");
  }
  if (request.echo && request.stream && request.logprobs) {
    fields.fail("echo", "'echo' with 'logprobs' cannot be streamed");
  }
  if (fields.error()) return *fields.error();
  return request;
}

Parsed<ChatRequestBody> parse_chat(std::string_view body) {
  auto parsed = parse_object(body);
  if (ApiError* const error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Fields fields(object);
  ChatRequestBody request;
  read_common(fields, request);
  request.generate.max_tokens = read_max_tokens(fields, CommonRequest::kAsManyAsFit);
  constexpr std::uint32_t kMostLogprobs = 20;
  const bool wants = fields.boolean("logprobs", false);
  const auto top = static_cast<std::uint32_t>(fields.integer("top_logprobs", 0, 0, kMostLogprobs));
  if (wants) request.logprobs = top;
  if (!wants && top > 0) fields.fail("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  if (fields.find("messages") == nullptr) {
    fields.fail("messages", "'messages' is missing");
  } else {
    read_conversation(fields, object, request);
  }
  if (const Json* const format = fields.find("response_format")) {
    const bool text = format->is_object() && format->value("type", Json()) == "text";
    if (!text) {
      fields.fail(
          "response_format",
          "'response_format' other than {\"type\": \"text\"} is not supported: answers cannot "
          "be held to a grammar yet");
    }
  }
  if (const Json* const choice = fields.find("tool_choice")) {
    if (*choice != "auto" && *choice != "none") {
      fields.fail("tool_choice", "'tool_choice' other than \"auto\" and \"none\" is not supported");
    }
    if (*choice == "none") request.variables.erase("tools");
  }
  fields.refuse("functions", Json::array(), "use 'tools'");
  if (fields.error()) return *fields.error();
  return request;
}

}  // namespace sluice::server

#include "text/chat_request.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "text/jinja/code_points.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

/// The first that a message has is its reasoning.
constexpr auto kReasoning =
    std::to_array<std::string_view>({"reasoning_content", "thinking", "reasoning"});

/// Of apply_chat_template, not of templates.
constexpr auto kParameters = std::to_array<std::string_view>(
    {"chat_template", "continue_final_message", "max_length", "padding",
     "return_assistant_tokens_mask", "return_dict", "return_tensors", "sanitize_control_tokens",
     "tokenize", "tokenizer_kwargs", "truncation"});

/// Marks the end of what is to be continued. A template that trims takes its space away.
constexpr std::string_view kMark = "CONTINUE_FINAL_MESSAGE_TAG ";
constexpr std::string_view kTrimmedMark = kMark.substr(0, kMark.size() - 1);

Status wrong(std::string message) {
  return Status(ErrorCode::kInvalidArgument, std::move(message));
}

bool truthy(const Json& variables, std::string_view key) {
  const auto found = variables.find(key);
  if (found == variables.end()) return false;
  if (found->is_boolean()) return found->get<bool>();
  return !found->is_null() && !(found->is_string() && found->get_ref<const std::string&>().empty());
}

/// A message without its nulls, and with its reasoning under the names that templates look for: the
/// older one first, as Transformers has it.
Json normalised(const Json& message) {
  Json whole = Json::object();
  const auto has = [&](std::string_view key) {
    const auto found = message.find(key);
    return found != message.end() && !found->is_null();
  };
  const auto reasoning = std::ranges::find_if(kReasoning, has);
  if (reasoning != kReasoning.end()) {
    whole["thinking"] = *message.find(has("thinking") ? "thinking" : *reasoning);
  }
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) whole[key] = value;
  }
  if (reasoning != kReasoning.end()) whole["reasoning_content"] = *message.find(*reasoning);
  return whole;
}

/// A list of objects, or null.
Status check_list(const Json& variables, const char* name) {
  const auto found = variables.find(name);
  if (found == variables.end() || found->is_null()) return {};
  const auto is_object = [](const Json& one) { return one.is_object(); };
  if (found->is_array() && std::ranges::all_of(*found, is_object)) return {};
  return wrong("'" + std::string(name) + "' is not a list of objects");
}

/// Puts the mark behind a message's text, or behind the last text of a list of parts.
Result<std::string> mark(Json& content) {
  if (content.is_string()) {
    auto& text = content.get_ref<std::string&>();
    const std::string before = text;
    text += kMark;
    return before;
  }
  if (!content.is_array()) return wrong("the final message, to be continued, is no text");
  for (auto part = content.rbegin(); part != content.rend(); ++part) {
    if (!part->is_object() || !part->contains("text")) continue;
    if (!(*part)["text"].is_string()) break;
    return mark((*part)["text"]);
  }
  return wrong("the final message, to be continued, has no text in it");
}

/// The fields that are to be marked: reasoning is there by several names, and whichever of them the
/// template reads will do.
std::vector<std::string> continued_fields(const Json& message, const std::string& field) {
  if (std::ranges::find(kReasoning, field) == kReasoning.end()) return {field};
  std::vector<std::string> fields;
  const Json& value = *message.find(field);
  for (const std::string_view name : kReasoning) {
    const auto found = message.find(name);
    if (found != message.end() && *found == value) fields.emplace_back(name);
  }
  return fields;
}

Result<std::string> mark_final_message(Json& messages, const Json& wanted,
                                       std::string_view template_source) {
  const std::string field = wanted.is_string() ? wanted.get<std::string>() : "content";
  Json& message = messages.back();
  if (!message.contains(field)) {
    return wrong("'continue_final_message' is set, but the final message has no '" + field +
                 "' to continue");
  }
  const auto fields = continued_fields(message, field);
  const auto read = [&](const std::string& name) {
    return template_source.find(name) != std::string_view::npos;
  };
  if (std::ranges::none_of(fields, read)) {
    return wrong("'continue_final_message' is '" + field + "', which the template does not read");
  }
  std::string text;
  for (const std::string& name : fields) {
    SLUICE_ASSIGN(text, mark(message[name]));
  }
  return text;
}

}  // namespace

Result<ChatRequest> prepare_chat(Json variables, std::string_view template_source) {
  if (!variables.is_object()) return wrong("a chat template's variables are an object");
  const auto messages = variables.find("messages");
  SLUICE_TRY(check_list(variables, "messages"));
  if (messages == variables.end() || messages->is_null() || messages->empty()) {
    return wrong("the conversation is empty: it needs at least one message");
  }
  SLUICE_TRY(check_list(variables, "tools"));
  SLUICE_TRY(check_list(variables, "documents"));
  ChatRequest request;
  for (Json& message : *messages) message = normalised(message);
  if (truthy(variables, "continue_final_message")) {
    if (truthy(variables, "add_generation_prompt")) {
      return wrong(
          "'continue_final_message' goes on with the last message and 'add_generation_prompt' "
          "begins a new one: set one of them");
    }
    SLUICE_ASSIGN(
        request.continued,
        mark_final_message(*messages, variables["continue_final_message"], template_source));
  }
  for (const std::string_view name : kParameters) variables.erase(std::string(name));
  const auto add = [&](const char* name, const Json& value) {
    if (!variables.contains(name)) variables[name] = value;
  };
  add("tools", nullptr);
  add("documents", nullptr);
  add("add_generation_prompt", false);
  request.variables = std::move(variables);
  return request;
}

Result<std::string> ChatRequest::finish(std::string rendered) const {
  if (!continued) return rendered;
  const std::size_t at = rendered.rfind(kTrimmedMark);
  if (at == std::string::npos || rendered.find(jinja::strip(*continued)) == std::string::npos) {
    return wrong(
        "'continue_final_message' is set, but the template left out the final message, or a part "
        "of it");
  }
  const bool trimmed = rendered.compare(at, kMark.size(), kMark) != 0;
  rendered.resize(at);
  // White space at its end fell to the template, too.
  if (trimmed) rendered.resize(jinja::strip(rendered, jinja::Side::kRight).size());
  return rendered;
}

}  // namespace sluice

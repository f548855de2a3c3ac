#pragma once
// What Transformers' apply_chat_template does around a template: with the messages before it, and
// with its text where the last message is to be continued.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

/// A conversation as its template is given it.
struct ChatRequest {
  nlohmann::ordered_json variables;
  std::optional<std::string> continued;  // what the last message says so far, if it is to go on

  /// The template's text, cut behind what is to be continued. kInvalidArgument where the template
  /// left that out.
  Result<std::string> finish(std::string rendered) const;
};

/// Of `variables`, an object with "messages": what a message has as null is left out; reasoning is
/// there by each name that templates know ("reasoning_content", "thinking"), whichever it came
/// under ("reasoning" too); "continue_final_message" (true, or the name of a field) is obeyed;
/// Transformers' own parameters are no variables. "tools", "documents" (null) and
/// "add_generation_prompt" (false) are always there. kInvalidArgument says what is wrong in words
/// like Transformers'.
Result<ChatRequest> prepare_chat(nlohmann::ordered_json variables,
                                 std::string_view template_source);

}  // namespace sluice

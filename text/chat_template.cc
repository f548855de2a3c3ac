#include "text/chat_template.h"

#include <exception>
#include <nlohmann/json.hpp>

#include "text/jinja/code_points.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/jinja/variables.h"

namespace sluice {

struct ChatTemplate::Syntax {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Syntax> syntax) : syntax_(std::move(syntax)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes)
    return Status(ErrorCode::kUnsupported, "the chat template is too long");
  if (const auto at = jinja::find_ill_formed(source)) {
    return Status(ErrorCode::kCorrupt,
                  "the chat template's byte " + std::to_string(*at) + " is no UTF-8");
  }
  SLUICE_ASSIGN(auto tokens, jinja::tokenize(source));
  SLUICE_ASSIGN(auto body, jinja::Parser(std::move(tokens)).parse());
  return ChatTemplate(std::make_unique<const Syntax>(Syntax{std::move(body)}));
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& variables,
                                         const std::tm& now,
                                         const ChatTemplateLimits& limits) const {
  if (!variables.is_object()) {
    return Status(ErrorCode::kInvalidArgument, "a chat template's variables are an object");
  }
  try {
    jinja::RenderState state(limits, now);
    jinja::Interpreter interpreter(state, jinja::convert_variables(state, variables));
    std::string text = state.failed() ? std::string() : interpreter.run(syntax_->body);
    if (state.failed()) {
      return Status(state.limit_passed() ? ErrorCode::kBudget : ErrorCode::kInvalidArgument,
                    "chat template, " + state.error());
    }
    return text;
  } catch (const std::exception& error) {  // memory that is not to be had
    return Status(ErrorCode::kInternal, std::string("chat template: ") + error.what());
  }
}

}  // namespace sluice

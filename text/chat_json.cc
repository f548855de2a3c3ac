#include "text/chat_json.h"

#include <cstdint>
#include <string>
#include <utility>

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 128;  // lists within lists

/// What would be read as something else, or not within bounds.
class Inspector : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t value) override {
    return value <= std::uint64_t{INT64_MAX} || too_large(std::to_string(value));
  }
  /// An integer that fits nowhere comes as a float, which a template would write otherwise.
  bool number_float(number_float_t, const string_t& text) override {
    return text.find_first_of(".eE") != std::string::npos || too_large(text);
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    return fail(std::string("is no JSON: ") + error.what());
  }
  const Status& status() const { return status_; }

 private:
  bool enter() { return ++depth_ <= kDeepest || fail("lists and objects are nested too deep"); }
  bool leave() {
    --depth_;
    return true;
  }
  bool too_large(const std::string& number) {
    return fail("the integer " + number.substr(0, 80) +
                " has more than 64 bits; write it as a text");
  }
  bool fail(const std::string& message) {
    status_ = Status(ErrorCode::kCorrupt, message);
    return false;
  }

  int depth_ = 0;
  Status status_;
};

Status check_messages(const Json& messages) {
  if (!messages.is_array()) return Status(ErrorCode::kCorrupt, "'messages' is not a list");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].is_object() && messages[i].contains("role")) continue;
    return Status(ErrorCode::kCorrupt,
                  "message " + std::to_string(i + 1) + " is not an object with a 'role'");
  }
  return {};
}

}  // namespace

Result<Json> parse_chat_json(std::string_view text) {
  try {
    Inspector inspector;
    Json::sax_parse(text, &inspector);
    if (!inspector.status().ok()) return inspector.status();
    return Json::parse(text);
  } catch (const std::exception& error) {
    return Status(ErrorCode::kCorrupt, std::string("is no JSON: ") + error.what());
  }
}

Result<Json> parse_conversation(std::string_view text) {
  SLUICE_ASSIGN(Json parsed, parse_chat_json(text));
  return conversation_of(std::move(parsed));
}

Result<Json> conversation_of(Json parsed) {
  if (parsed.is_array()) parsed = Json{{"messages", Json(parsed)}};
  if (!parsed.is_object()) {
    return Status(ErrorCode::kCorrupt, "neither an object with 'messages' nor a list of them");
  }
  if (const auto nested = parsed.find("variables"); nested != parsed.end() && nested->is_object()) {
    const Json variables = std::move(*nested);
    parsed.erase("variables");
    for (const auto& [name, value] : variables.items()) parsed[name] = value;
  }
  const auto messages = parsed.find("messages");
  if (messages == parsed.end()) return Status(ErrorCode::kCorrupt, "'messages' is missing");
  SLUICE_TRY(check_messages(*messages));
  return parsed;
}

}  // namespace sluice

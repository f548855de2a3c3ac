#include "apps/conversation.h"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "apps/output_file.h"
#include "apps/text_source.h"
#include "text/utf8.h"

namespace sluice::apps {
namespace {

using Json = Conversation::Json;

constexpr std::size_t kLargestFile = std::size_t{64} << 20;
constexpr int kDeepest = 128;  // lists within lists

std::string well_formed(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const Utf8Run run = utf8_run(bytes);
    if (run.well_formed) {
      text += bytes.substr(0, run.length);
    } else {
      text += kReplacementCharacter;
    }
    bytes.remove_prefix(run.length);
  }
  return text;
}

bool has_role(const Json& message, const char* role) {
  const auto found = message.find("role");
  return found != message.end() && found->is_string() &&
         found->get_ref<const std::string&>() == role;
}

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
    return fail(fmt::format("is no JSON: {}", error.what()));
  }
  const Status& status() const { return status_; }

 private:
  bool enter() { return ++depth_ <= kDeepest || fail("lists and objects are nested too deep"); }
  bool leave() {
    --depth_;
    return true;
  }
  bool too_large(const std::string& number) {
    return fail(fmt::format("the integer {} has more than 64 bits; write it as a text",
                            number.substr(0, 80)));
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
                  fmt::format("message {} is not an object with a 'role'", i + 1));
  }
  return {};
}

}  // namespace

Result<Json> Conversation::parse(const std::string& text) {
  try {
    Inspector inspector;
    Json::sax_parse(text, &inspector);
    if (!inspector.status().ok()) return inspector.status();
    return Json::parse(text);
  } catch (const std::exception& error) {
    return Status(ErrorCode::kCorrupt, fmt::format("is no JSON: {}", error.what()));
  }
}

Result<Conversation> Conversation::read(const std::string& path, std::string_view option) {
  SLUICE_ASSIGN(TextSource source, TextSource::open(path, option));
  SLUICE_ASSIGN(const std::string text, source.rest(kLargestFile));
  auto parsed = parse(text);
  if (!parsed.ok()) return parsed.status().with_context(source.path());
  Conversation conversation;
  if (parsed->is_array()) parsed = Json{{"messages", Json(*parsed)}};
  if (!parsed->is_object()) {
    return Status(ErrorCode::kCorrupt,
                  source.path() + ": neither an object with 'messages' nor a list of them");
  }
  if (const auto nested = parsed->find("variables");
      nested != parsed->end() && nested->is_object()) {
    const Json variables = std::move(*nested);
    parsed->erase("variables");
    conversation.set_variables(*parsed);
    conversation.set_variables(variables);
  } else {
    conversation.set_variables(*parsed);
  }
  if (!conversation.variables_.contains("messages")) {
    return Status(ErrorCode::kCorrupt, source.path() + ": 'messages' is missing");
  }
  conversation.messages_ = std::move(conversation.variables_["messages"]);
  conversation.variables_.erase("messages");
  if (const Status status = check_messages(conversation.messages_); !status.ok()) {
    return status.with_context(source.path());
  }
  return conversation;
}

Status Conversation::save(const std::string& path, const RunFiles& files) const {
  SLUICE_ASSIGN(OutputFile file, OutputFile::create(path, files));
  SLUICE_TRY(file.write(variables().dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return file.close();
}

void Conversation::set_system(std::string_view text) {
  const Json message = {{"role", "system"}, {"content", well_formed(text)}};
  if (!messages_.empty() && has_role(messages_.front(), "system")) {
    messages_.front() = message;
  } else {
    messages_.insert(messages_.begin(), message);
  }
}

void Conversation::add_user(std::string_view text) {
  messages_.push_back({{"role", "user"}, {"content", well_formed(text)}});
}

void Conversation::set_variables(const Json& variables) {
  for (const auto& [name, value] : variables.items()) variables_[name] = value;
}

/// Where a turn begins; messages() past the last.
std::size_t Conversation::turn(std::size_t index) const {
  std::size_t at = 0;
  for (; at < messages_.size(); ++at) {
    if (has_role(messages_[at], "user") && index-- == 0) break;
  }
  return at;
}

std::size_t Conversation::turns() const {
  std::size_t count = 0;
  for (const Json& message : messages_) count += has_role(message, "user") ? 1 : 0;
  return count;
}

bool Conversation::awaits_answer() const {
  return turns() != 0 && !has_role(messages_.back(), "assistant");
}

bool Conversation::take_back(std::size_t keep) {
  if (keep >= messages_.size()) return false;
  messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(keep), messages_.end());
  return true;
}

bool Conversation::undo() { return turns() != 0 && take_back(turn(turns() - 1)); }

bool Conversation::undo_answer() { return turns() != 0 && take_back(turn(turns() - 1) + 1); }

Json Conversation::variables(std::size_t left_out) const {
  Json all = {{"messages", messages_}};
  if (left_out != 0) {
    Json& messages = all["messages"];
    const auto begin = messages.begin();
    messages.erase(begin + static_cast<std::ptrdiff_t>(turn(0)),
                   begin + static_cast<std::ptrdiff_t>(turn(left_out)));
  }
  for (const auto& [name, value] : variables_.items()) all[name] = value;
  return all;
}

}  // namespace sluice::apps

#include "apps/conversation.h"

#include <utility>

#include "apps/output_file.h"
#include "apps/text_source.h"
#include "text/chat_json.h"
#include "text/utf8.h"

namespace sluice::apps {
namespace {

using Json = Conversation::Json;

constexpr std::size_t kLargestFile = std::size_t{64} << 20;

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

}  // namespace

Result<Conversation> Conversation::read(const std::string& path, std::string_view option) {
  SLUICE_ASSIGN(TextSource source, TextSource::open(path, option));
  SLUICE_ASSIGN(const std::string text, source.rest(kLargestFile));
  auto parsed = parse_conversation(text);
  if (!parsed.ok()) return parsed.status().with_context(source.path());
  Conversation conversation;
  conversation.messages_ = std::move((*parsed)["messages"]);
  parsed->erase("messages");
  conversation.set_variables(*parsed);
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

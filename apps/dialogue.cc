#include "apps/dialogue.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "apps/cancel.h"
#include "apps/text_source.h"
#include "base/cancellation.h"

namespace sluice::apps {
namespace {

constexpr std::string_view kSpaces = " \t\n";

}  // namespace

const Dialogue::Command Dialogue::kCommands[] = {
    {"/regenerate", "", "another answer to the last message", &Dialogue::regenerate},
    {"/undo", "", "takes the last message and its answer back", &Dialogue::undo},
    {"/save", "FILE", "writes the conversation, for --load and --render", &Dialogue::save},
    {"/help", "", "this list", &Dialogue::help},
    {"/exit", "", "ends the chat, as Ctrl-D does", &Dialogue::leave},
};

Dialogue::Dialogue(ChatSession& chat, const RunFiles& files)
    : chat_(chat), files_(files), typed_(isatty(STDIN_FILENO) != 0) {}

Status Dialogue::run() {
  SLUICE_ASSIGN(TextSource input, TextSource::open("-", ""));
  LineSource lines(std::move(input), chat_.longest_message());
  if (typed_) spdlog::info("/help lists what can be done besides talking");
  if (chat_.conversation().awaits_answer()) SLUICE_TRY(answer());
  while (!ended_) {
    if (typed_) fmt::print(stderr, "> ");
    // While a person thinks, the disk reads.
    while (typed_ && !is_readable(STDIN_FILENO) && chat_.warm_up()) continue;
    const auto line = lines.next();
    if (line.status().code() == ErrorCode::kInvalidArgument && typed_) {
      spdlog::error("{}", line.status().message());
      continue;
    }
    if (!line.ok()) return line.status();
    if (!line->has_value()) {
      if (typed_) fmt::print(stderr, "\n");
      break;
    }
    SLUICE_TRY(take(**line));
  }
  return interrupts_ != 0 && !typed_ ? cancelled() : Status();
}

Status Dialogue::take(std::string_view line) {
  if (line.find_first_not_of(kSpaces) == std::string_view::npos) return {};
  const bool doubled = line.starts_with("//");
  if (line.starts_with('/') && !doubled) return command(line);
  chat_.conversation().add_user(line.substr(doubled ? 1 : 0));
  return answer();
}

/// An error ends a script; a person reads it and goes on.
Status Dialogue::answer() {
  const Status status = chat_.answer();
  if (!status.ok()) {
    if (!typed_ || status.code() == ErrorCode::kCancelled) return status;
    spdlog::error("{}", status.message());
    return {};
  }
  if (!chat_.stopped()) return {};
  ++interrupts_;
  return forget_interrupt() && (typed_ || interrupts_ == 1) ? Status() : cancelled();
}

Status Dialogue::command(std::string_view line) {
  line = line.substr(0, line.find_last_not_of(kSpaces) + 1);
  const std::string_view name = line.substr(0, line.find_first_of(kSpaces));
  std::string_view argument = line.substr(name.size());
  argument.remove_prefix(std::min(argument.find_first_not_of(kSpaces), argument.size()));
  for (const Command& one : kCommands) {
    if (one.name != name) continue;
    if (argument.empty() == one.argument.empty()) return (this->*one.act)(std::string(argument));
    spdlog::warn("{} {}", name,
                 one.argument.empty() ? "stands alone" : fmt::format("needs a {}", one.argument));
    return {};
  }
  spdlog::warn(
      "there is no command '{}': /help lists them; a message that begins with a slash begins with "
      "two",
      name);
  return {};
}

Status Dialogue::regenerate(const std::string&) {
  if (chat_.conversation().undo_answer()) return answer();
  spdlog::warn("there is no answer yet");
  return {};
}

Status Dialogue::undo(const std::string&) {
  if (!chat_.conversation().undo()) spdlog::warn("there is nothing to take back");
  return {};
}

Status Dialogue::save(const std::string& path) {
  const Status status = chat_.conversation().save(path, files_);
  if (status.ok()) {
    spdlog::info("{}: {} messages", path, chat_.conversation().messages().size());
  } else {
    spdlog::error("{}", status.message());
  }
  return {};
}

Status Dialogue::help(const std::string&) {
  const auto line = [](const std::string& what, std::string_view does) {
    fmt::print(stderr, "{:<16}{}\n", what, does);
  };
  for (const Command& one : kCommands) line(fmt::format("{} {}", one.name, one.argument), one.help);
  line("//...", "a message that begins with a slash");
  line("...\\", "a backslash at the end of a line: the message goes on in the next");
  line("Ctrl-C", "stops the answer; at the prompt, ends the chat");
  return {};
}

Status Dialogue::leave(const std::string&) {
  ended_ = true;
  return {};
}

}  // namespace sluice::apps

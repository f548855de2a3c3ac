#pragma once
// The turns that come from standard input, a line each, and the commands among them: from a person
// at a terminal, or from a file or program.

#include <string>
#include <string_view>

#include "apps/chat_session.h"
#include "apps/run_files.h"
#include "base/status.h"

namespace sluice::apps {

/// Borrows both. None of `files` is written over.
class Dialogue {
 public:
  Dialogue(ChatSession& chat, const RunFiles& files);

  /// Until the input ends, or /exit. kCancelled after Ctrl-C at the prompt and, where nobody types,
  /// at the end after the first that stopped an answer, at once after the second.
  Status run();

 private:
  struct Command {
    std::string_view name, argument, help;
    Status (Dialogue::*act)(const std::string& argument);
  };
  static const Command kCommands[];

  Status take(std::string_view line);
  Status answer();
  Status command(std::string_view line);

  Status regenerate(const std::string&);
  Status undo(const std::string&);
  Status save(const std::string& path);
  Status help(const std::string&);
  Status leave(const std::string&);

  ChatSession& chat_;
  const RunFiles& files_;
  const bool typed_;
  int interrupts_ = 0;  // answers that Ctrl-C stopped
  bool ended_ = false;
};

}  // namespace sluice::apps

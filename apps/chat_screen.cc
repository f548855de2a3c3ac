#include "apps/chat_screen.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "apps/answering.h"

namespace sluice::apps {
namespace {

bool dims() {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0') &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

}  // namespace

ChatScreen::ChatScreen() : dims_(dims()) {}

void ChatScreen::write(AnswerPart part, std::string_view text) {
  if (part == AnswerPart::kText) {
    if (reasoning_) close_reasoning();
    return write_text(text);
  }
  if (!dims_) {
    if (!reasoning_) write_text("<think>\n");
    write_text(text);
  } else {
    // Each piece by itself: whatever ends the process leaves the terminal as it was.
    write_text("\x1b[2m" + std::string(text) + "\x1b[22m");
  }
  reasoning_ = true;
}

void ChatScreen::close_reasoning() {
  write_text(dims_ ? "\n\n" : "\n</think>\n\n");
  reasoning_ = false;
}

void ChatScreen::end() {
  if (reasoning_ && !dims_) write_text("\n</think>");
  reasoning_ = false;
  write_text("\n");
}

}  // namespace sluice::apps

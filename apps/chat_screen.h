#pragma once
// Answers on standard output as they come, with the reasoning set apart.

#include <string_view>

#include "text/answer_splitter.h"

namespace sluice::apps {

/// Reasoning is dimmed on a terminal; elsewhere, and where NO_COLOR is set or TERM is "dumb", it
/// stands between <think> and </think>, whatever the model's own marks are.
class ChatScreen {
 public:
  ChatScreen();
  void write(AnswerPart part, std::string_view text);
  /// The answer is over.
  void end();

 private:
  void close_reasoning();

  const bool dims_;
  bool reasoning_ = false;  // under way
};

}  // namespace sluice::apps

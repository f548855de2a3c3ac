#pragma once
// A conversation with a model: each turn is rendered anew and computed from where it differs.

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "apps/answering.h"
#include "apps/chat_screen.h"
#include "apps/conversation.h"
#include "engine/session.h"
#include "text/chat_format.h"

namespace sluice::apps {

/// Borrows the model. Not thread-safe.
class ChatSession {
 public:
  struct Options {
    GenerateOptions generate;
    bool silent = false;  // nothing on standard output
    bool stats = false;
  };
  ChatSession(Model& model, ChatFormat format, Conversation conversation, Options options);

  Conversation& conversation() { return conversation_; }
  const Conversation& conversation() const { return conversation_; }

  /// Answers the last turn of the conversation and adds the answer to it. Ctrl-C stops the answer
  /// (`stopped` is true then), not more. A turn whose answer did not even begin, and after an error
  /// every one, is taken back. kInvalidArgument where the context cannot hold it.
  Status answer();
  bool stopped() const { return stopped_; }
  /// While nobody asks: see Model::warm_up.
  bool warm_up() { return session_.model().warm_up(); }
  /// Bytes: no context holds a longer message, so none need be held in memory.
  std::size_t longest_message() const;

  /// What `run --json` says of the last answer, and "reasoning", "reused_tokens", "messages" and
  /// all "turns".
  nlohmann::json report() const;

 private:
  struct Prompt {
    std::string text;
    std::vector<TokenId> tokens;
  };
  Result<Prompt> prompt();
  Result<Prompt> render() const;
  Status try_answer();

  const Model& model_;
  const ChatFormat format_;
  Conversation conversation_;
  Options options_;
  Session session_;
  ChatScreen screen_;
  std::tm now_{};             // of the whole chat: a prompt that says it stays the same
  std::size_t left_out_ = 0;  // oldest turns that the prompt does without
  bool stopped_ = false;
  nlohmann::json turns_ = nlohmann::json::array();
};

}  // namespace sluice::apps

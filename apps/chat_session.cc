#include "apps/chat_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "apps/cancel.h"
#include "engine/chat_answer.h"
#include "text/answer_splitter.h"
#include "text/local_time.h"

namespace sluice::apps {

ChatSession::ChatSession(Model& model, ChatFormat format, Conversation conversation,
                         Options options)
    : model_(model),
      format_(std::move(format)),
      conversation_(std::move(conversation)),
      options_(std::move(options)),
      session_(model),
      now_(local_time()) {
  make_answer(format_, *model_.tokenizer(), now_, options_.generate);
}

Result<ChatSession::Prompt> ChatSession::render() const {
  auto variables = conversation_.variables(left_out_);
  variables["add_generation_prompt"] = true;
  Prompt prompt;
  SLUICE_ASSIGN(prompt.text, format_.render(std::move(variables), now_));
  prompt.tokens = encode_chat(*model_.tokenizer(), prompt.text);
  return prompt;
}

/// What the model is given. A context that shifts loses the oldest turns, down to half of it so
/// that the next turns need not do the same; a single turn that is too long is the generator's to
/// shift.
Result<ChatSession::Prompt> ChatSession::prompt() {
  const std::size_t turns = conversation_.turns();
  left_out_ = std::min(left_out_, turns - 1);
  SLUICE_ASSIGN(Prompt prompt, render());
  const std::size_t context = session_.context();
  if (prompt.tokens.size() <= context) return prompt;
  if (!options_.generate.context_shift) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("the conversation needs {} tokens and the context holds {}: open a "
                              "larger one (--ctx), take turns back (/undo) or let the oldest go "
                              "(--ctx-shift)",
                              prompt.tokens.size(), context));
  }
  while (prompt.tokens.size() > context / 2 && left_out_ + 1 < turns) {
    ++left_out_;
    SLUICE_ASSIGN(prompt, render());
  }
  const std::size_t dropped = shifted_out(prompt.tokens.size(), context);
  prompt.tokens.erase(prompt.tokens.begin(),
                      prompt.tokens.begin() + static_cast<std::ptrdiff_t>(dropped));
  spdlog::info(
      "the context of {} positions is full: it goes on without the oldest turns ({} so far)",
      context, left_out_);
  return prompt;
}

Status ChatSession::answer() {
  stopped_ = false;
  const Status status = try_answer();
  if (!status.ok()) conversation_.undo();
  return status;
}

Status ChatSession::try_answer() {
  SLUICE_ASSIGN(Prompt prompt, this->prompt());
  GenerateOptions options = options_.generate;
  options.sampling.seed += turns_.size();  // the same question may be answered otherwise
  const std::size_t reused = session_.keep_prefix(prompt.tokens);
  const std::vector<TokenId> rest(prompt.tokens.begin() + static_cast<std::ptrdiff_t>(reused),
                                  prompt.tokens.end());
  std::string text, reasoning;
  AnswerSplitter splitter(prompt.text, [&](AnswerPart part, std::string_view piece) {
    (part == AnswerPart::kText ? text : reasoning) += piece;
    if (!options_.silent) screen_.write(part, piece);
  });
  const auto generation =
      generate(session_, rest, options, [&](std::string_view piece) { splitter.push(piece); });
  splitter.finish();
  if (!options_.silent) screen_.end();
  if (!generation.ok()) return damaged(generation.status(), model_);

  warn_if_full(*generation, model_);
  stopped_ = generation->reason == StopReason::kCancelled;
  if (options_.stats) {
    print_statistic(fmt::format("prompt: {} tokens kept, {}", reused, speed_of(*generation)));
  }
  nlohmann::json turn = generation_json(*generation);
  turn["text"] = text;
  turn["reasoning"] = reasoning;
  turn["reused_tokens"] = reused;
  turn["prompt_tokens"] = reused + generation->prompt_tokens;
  turns_.push_back(std::move(turn));
  if (stopped_ && text.empty() && reasoning.empty()) {
    conversation_.undo();
    spdlog::info("stopped before the answer began: the message is taken back");
  } else {
    conversation_.add(format_.answer(text, reasoning));
  }
  return {};
}

std::size_t ChatSession::longest_message() const {
  constexpr std::size_t kLeast = 64 << 10, kBytesAToken = 32;
  return std::max(kLeast, session_.context() * kBytesAToken);
}

nlohmann::json ChatSession::report() const {
  nlohmann::json json = turns_.empty() ? nlohmann::json::object() : turns_.back();
  json["turns"] = turns_;
  json["messages"] = nlohmann::json(conversation_.messages());
  add_use(json, model_);
  return json;
}

}  // namespace sluice::apps

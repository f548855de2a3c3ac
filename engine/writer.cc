#include "engine/writer.h"

#include <utility>

namespace sluice {
namespace {

std::vector<TokenId> joined(const std::vector<TokenId>& first, const std::vector<TokenId>& second) {
  std::vector<TokenId> all = first;
  all.insert(all.end(), second.begin(), second.end());
  return all;
}

/// A prompt that exceeds the context begins the session anew with what shifting leaves of both.
std::vector<TokenId> fitting(Session& session, const std::vector<TokenId>& prompt) {
  const std::size_t dropped = shifted_out(session.length() + prompt.size(), session.context());
  if (dropped == 0) return prompt;
  std::vector<TokenId> all = joined(session.tokens(), prompt);
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(dropped));
  session.truncate(0);
  return all;
}

}  // namespace

std::size_t shifted_out(std::size_t length, std::size_t context) {
  if (length <= context) return 0;
  const std::size_t step = context - context / 2;  // what one shift forgets
  return (length - context + step - 1) / step * step;
}

Result<Writer> Writer::create(Session& session, std::vector<TokenId> prompt,
                              const GenerateOptions& options) {
  if (prompt.empty() && session.length() == 0) {
    return Status(ErrorCode::kInvalidArgument, "the prompt has no tokens: give some text");
  }
  return Writer(session, std::move(prompt), options);
}

Writer::Writer(Session& session, std::vector<TokenId> prompt, const GenerateOptions& options)
    : session_(session),
      shifts_(options.context_shift),
      wants_any_(options.max_tokens > 0),
      pass_(options.pass),
      next_(std::move(prompt)),
      continuation_(session.model().tokenizer(), options, joined(session.tokens(), next_)) {}

Result<std::string> Writer::next() {
  SLUICE_TRY(failed_);
  if (!begun_) {
    if (shifts_) next_ = fitting(session_, next_);
  } else if (session_.length() == session_.context()) {
    if (!shifts_) return continuation_.end(StopReason::kContextFull);
    shift();
  }
  SLUICE_TRY(compute());
  begun_ = true;
  if (!wants_any_) return continuation_.end(StopReason::kMaxTokens);
  SLUICE_TRY(failed_);
  std::string text = continuation_.accept();
  if (!ended()) next_.assign(1, tokens().back());
  return text;
}

/// Makes room by starting over from the newer half of the text. Exact: the logits are those of that
/// half as a text of its own.
void Writer::shift() {
  const std::vector<TokenId>& all = session_.tokens();
  again_.assign(all.end() - static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  session_.truncate(0);
}

Status Writer::compute() {
  if (!again_.empty()) {
    SLUICE_TRY(session_.eval(again_, Session::Logits::kNone, {}, pass_));
    again_.clear();
  }
  const LogitsSink choose = [&](std::size_t, std::span<const float> logits) {
    failed_ = continuation_.choose(logits);
  };
  return session_.eval(next_, wants_any_ ? Session::Logits::kLast : Session::Logits::kNone, choose,
                       pass_);
}

}  // namespace sluice

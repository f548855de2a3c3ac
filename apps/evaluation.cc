#include "apps/evaluation.h"

#include <fmt/format.h>

#include <utility>

#include "apps/cancel.h"
#include "apps/options.h"

namespace sluice::apps {
namespace {

/// Every token of the window but the first is predicted; with `half`, only those after the middle
/// count.
Status score_window(Session& session, std::span<const TokenId> window, bool half,
                    const PassOptions& pass, Score& score) {
  const std::size_t first_target = half ? window.size() / 2 + 1 : 1;
  session.truncate(0);
  Status sound;
  const LogitsSink sink = [&](std::size_t row, std::span<const float> logits) {
    if (row + 1 < first_target || row + 1 >= window.size() || !sound.ok()) return;
    sound = check_logits(logits, row, session.model());
    score.add(logits, window[row + 1]);
  };
  SLUICE_TRY(session.eval(window, Session::Logits::kAll, sink, pass));
  return sound;
}

}  // namespace

Status check_tokenizer(const Model& model, const std::string& file) {
  if (model.tokenizer() != nullptr) return {};
  return Status(ErrorCode::kUnsupported,
                fmt::format("{}: a text cannot be read: {}", file, model.no_tokenizer()));
}

Evaluation::Evaluation(Session& session, TextSource text, bool half, PassOptions pass)
    : session_(session),
      source_(std::move(text), *session.model().tokenizer(), {}),
      half_(half),
      pass_(pass) {
  pass_.cancel = &cancel_requested();
}

Status Evaluation::run() {
  const Status status = score_windows();
  line_.clear();
  return status;
}

Status Evaluation::score_windows() {
  const std::size_t window = session_.context();
  for (bool more = true; more;) {
    SLUICE_ASSIGN(more, source_.next(tokens_));
    while (tokens_.size() >= window) SLUICE_TRY(score(window));
  }
  return tokens_.size() > 1 ? score(tokens_.size()) : Status();
}

Status Evaluation::score(std::size_t count) {
  SLUICE_TRY(score_window(session_, {tokens_.data(), count}, half_, pass_, score_));
  tokens_.erase(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(count));
  tokens_seen_ += count;
  if (line_.visible() && score_.tokens != 0) show_progress();
  return {};
}

void Evaluation::show_progress() {
  const TextSource& text = source_.text();
  std::string part;
  if (text.size() != 0) {
    // Read in larger parts than it is scored in.
    const double scored =
        static_cast<double>(tokens_seen_) / static_cast<double>(tokens_seen_ + tokens_.size());
    part = fmt::format(" ({:.0f} %)", 100.0 * scored * static_cast<double>(text.taken()) /
                                          static_cast<double>(text.size()));
  }
  line_.show(
      fmt::format("{} tokens{}, perplexity {:.4f}", tokens_seen_, part, score_.perplexity()));
}

}  // namespace sluice::apps

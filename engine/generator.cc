#include "engine/generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

namespace sluice {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Holds text back as long as it may be the beginning of a stop string.
class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  /// The text that may be shown; `stopped()` is true when a stop string was met, and what precedes
  /// it is the last.
  std::string push(std::string_view text) {
    pending_ += text;
    std::size_t cut = std::string::npos;
    for (const std::string& stop : stops_)
      cut = std::min(cut, stop.empty() ? std::string::npos : pending_.find(stop));
    stopped_ = cut != std::string::npos;
    if (!stopped_) cut = pending_.size() - held();
    std::string shown = pending_.substr(0, cut);
    pending_.erase(0, cut);
    return shown;
  }
  std::string finish() { return stopped_ ? std::string() : std::exchange(pending_, {}); }
  bool stopped() const { return stopped_; }

 private:
  /// Length of the longest end of the pending text that begins a stop string.
  std::size_t held() const {
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (std::size_t n = std::min(stop.size(), pending_.size()); n > longest; --n) {
        if (pending_.compare(pending_.size() - n, n, stop, 0, n) == 0) longest = n;
      }
    }
    return longest;
  }

  const std::vector<std::string>& stops_;
  std::string pending_;
  bool stopped_ = false;
};

bool contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// Makes room by starting over from the newer half of the text. Exact: the logits are those of that
/// half as a text of its own.
Status shift_context(Session& session, const PassOptions& pass) {
  const std::vector<TokenId>& all = session.tokens();
  const std::vector<TokenId> kept(all.end() - static_cast<std::ptrdiff_t>(all.size() / 2),
                                  all.end());
  session.truncate(0);
  return session.eval(kept, Session::Logits::kNone, {}, pass);
}

/// A prompt that exceeds the context begins the session anew with what shifting leaves of both.
std::vector<TokenId> fitting(Session& session, const std::vector<TokenId>& prompt) {
  const std::size_t dropped = shifted_out(session.length() + prompt.size(), session.context());
  if (dropped == 0) return prompt;
  std::vector<TokenId> all = session.tokens();
  all.insert(all.end(), prompt.begin(), prompt.end());
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

Result<Generation> generate(Session& session, const std::vector<TokenId>& prompt,
                            const GenerateOptions& options,
                            const std::function<void(std::string_view)>& on_text) {
  if (prompt.empty() && session.length() == 0) {
    return Status(ErrorCode::kInvalidArgument, "the prompt has no tokens: give some text");
  }
  const Tokenizer* tokenizer = session.model().tokenizer();
  Generation result;
  result.prompt_tokens = prompt.size();
  Sampler sampler(options.sampling);
  std::vector<TokenId> history = session.tokens();
  history.insert(history.end(), prompt.begin(), prompt.end());
  std::optional<Detokenizer> detokenizer;
  if (tokenizer != nullptr) detokenizer.emplace(*tokenizer, /*continues=*/!options.own_text);
  StopFilter filter(options.stop);
  const auto show = [&](const std::string& text) {
    result.text += text;
    if (!text.empty() && on_text) on_text(text);
  };

  TokenId next = 0;
  Status chosen;
  const LogitsSink choose = [&](std::size_t, std::span<const float> logits) {
    next = sampler.sample(logits, history);
    if (!std::isfinite(logits[static_cast<std::size_t>(next)])) {
      chosen = Status(ErrorCode::kCorrupt, "the model's logits are not numbers");
    }
  };
  const auto start = std::chrono::steady_clock::now();
  const std::vector<TokenId> text = options.context_shift ? fitting(session, prompt) : prompt;
  const Status computed = options.max_tokens == 0
                              ? session.eval(text, Session::Logits::kNone, {}, options.pass)
                              : session.eval(text, Session::Logits::kLast, choose, options.pass);
  if (computed.code() == ErrorCode::kCancelled) {
    result.reason = StopReason::kCancelled;
    return result;
  }
  SLUICE_TRY(computed);
  result.prefill_seconds = seconds_since(start);
  result.first_token_seconds = result.prefill_seconds;
  const auto decode_start = std::chrono::steady_clock::now();

  while (result.tokens.size() < options.max_tokens) {
    SLUICE_TRY(chosen);
    if (!options.ignore_end && ((tokenizer != nullptr && tokenizer->ends_generation(next)) ||
                                contains(options.end_tokens, next))) {
      result.reason = StopReason::kEndOfText;
      break;
    }
    result.tokens.push_back(next);
    history.push_back(next);
    if (detokenizer) {
      const bool special = contains(options.shown_tokens, next);
      show(filter.push(detokenizer->push(next, special)));
    }
    if (filter.stopped()) {
      result.reason = StopReason::kStopString;
      break;
    }
    if (result.tokens.size() == options.max_tokens) break;
    Status status;
    if (session.length() == session.context()) {
      if (!options.context_shift) {
        result.reason = StopReason::kContextFull;
        break;
      }
      status = shift_context(session, options.pass);
    }
    const TokenId current = next;
    if (status.ok()) {
      status = session.eval({&current, 1}, Session::Logits::kLast, choose, options.pass);
    }
    if (status.code() == ErrorCode::kCancelled) {
      result.reason = StopReason::kCancelled;
      break;
    }
    SLUICE_TRY(status);
    ++result.decoded;
  }
  result.decode_seconds = seconds_since(decode_start);
  if (detokenizer && !filter.stopped()) show(filter.push(detokenizer->finish()));
  show(filter.finish());
  return result;
}

}  // namespace sluice

#pragma once
// A text scored in windows, as `eval` does it and what goes by perplexity.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/progress_line.h"
#include "apps/score.h"
#include "apps/text_source.h"
#include "base/status.h"
#include "engine/session.h"

namespace sluice::apps {

/// Tokens of a window, where nothing else is asked for.
inline constexpr std::uint32_t kDefaultWindow = 512;

/// kUnsupported, naming the file: the model reads no texts.
Status check_tokenizer(const Model& model, const std::string& file);

/// Windows of a text, each of as many tokens as the session's context, scored as its tokens come:
/// every token but the first is predicted. Shows how far it is; Ctrl-C ends it between two layers.
/// Borrows the session. One thread at a time.
class Evaluation {
 public:
  /// `half`: of each window only tokens behind its middle count. `pass`: of its passes, but for
  /// `cancel`. REQUIRES: the model has a tokenizer.
  Evaluation(Session& session, TextSource text, bool half, PassOptions pass = {});

  /// kCancelled: what was scored so far stays. kCorrupt: logits that are no numbers.
  Status run();
  const Score& score() const { return score_; }
  std::size_t window() const { return session_.context(); }
  std::size_t tokens_seen() const { return tokens_seen_; }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  Status score_windows();
  Status score(std::size_t count);
  void show_progress();

  Session& session_;
  TokenSource source_;
  const bool half_;
  PassOptions pass_;
  ProgressLine line_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<TokenId> tokens_;  // read and not scored
  std::size_t tokens_seen_ = 0;
  Score score_;
};

}  // namespace sluice::apps

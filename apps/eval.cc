// sluice eval: perplexity of a text.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <filesystem>
#include <optional>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/progress_line.h"
#include "apps/report.h"
#include "apps/score.h"
#include "apps/text_source.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

constexpr std::uint32_t kDefaultWindow = 512;

struct EvalOptions {
  CommonOptions common;
  std::string file;
  bool half = false;
};

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

/// Windows of the text, scored as its tokens come; Ctrl-C ends it between two layers.
class Evaluation {
 public:
  /// `exact`: without the model's approximations.
  Evaluation(Session& session, TextSource text, bool half, bool exact = false)
      : session_(session), source_(std::move(text), *session.model().tokenizer(), {}), half_(half) {
    pass_.cancel = &cancel_requested();
    pass_.exact = exact;
  }

  Status run() {
    const Status status = score_windows();
    line_.clear();
    return status;
  }
  const Score& score() const { return score_; }
  std::size_t window() const { return session_.context(); }
  std::size_t tokens_seen() const { return tokens_seen_; }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  Status score_windows() {
    const std::size_t window = session_.context();
    for (bool more = true; more;) {
      SLUICE_ASSIGN(more, source_.next(tokens_));
      while (tokens_.size() >= window) SLUICE_TRY(score(window));
    }
    return tokens_.size() > 1 ? score(tokens_.size()) : Status();
  }
  Status score(std::size_t count) {
    SLUICE_TRY(score_window(session_, {tokens_.data(), count}, half_, pass_, score_));
    tokens_.erase(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(count));
    tokens_seen_ += count;
    if (line_.visible() && score_.tokens != 0) show_progress();
    return {};
  }
  void show_progress() {
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

/// What the approximations cost: the same text once more, without them. None of a text that cannot
/// be read twice, or where not all was seen.
Result<std::optional<Score>> score_exactly(Session& session, const EvalOptions& options,
                                           std::size_t tokens) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(options.file, ignored)) return std::optional<Score>();
  SLUICE_ASSIGN(TextSource text, TextSource::open(options.file, "--text", IllFormed::kRefused));
  Evaluation evaluation(session, std::move(text), options.half, /*exact=*/true);
  const Status status = evaluation.run();
  if (!status.ok() && status.code() != ErrorCode::kCancelled) return status;
  const bool same = status.ok() && evaluation.score().tokens == tokens;
  return same ? std::optional(evaluation.score()) : std::nullopt;
}

/// `partial`: not all of the text was seen.
nlohmann::json result_json(const Evaluation& evaluation, const Model& model, bool partial) {
  const Score& score = evaluation.score();
  nlohmann::json result{
      {"perplexity", score.perplexity()},
      {"nll", score.mean()},
      {"tokens", score.tokens},
      {"partial", partial},
      {"ctx", evaluation.window()},
      {"tok_s", static_cast<double>(evaluation.tokens_seen()) / evaluation.seconds()}};
  add_use(result, model);
  return result;
}

void print_result(const Evaluation& evaluation, const std::optional<Score>& exact,
                  const char* without, bool partial) {
  const Score& score = evaluation.score();
  fmt::print("perplexity {:.4f} over {} tokens (windows of {}{})\n", score.perplexity(),
             score.tokens, evaluation.window(),
             partial ? "; partial: stopped before the end of the text" : "");
  if (!exact) return;
  fmt::print("{} {:.4f}: approximations cost {:+.2f} %\n", without, exact->perplexity(),
             100 * (score.perplexity() / exact->perplexity() - 1));
}

Status eval(EvalOptions& options) {
  if (options.common.context == 0) options.common.context = kDefaultWindow;
  const std::uint32_t least = options.half ? 3 : 2;
  if (options.common.context < least) {
    return Status(
        ErrorCode::kInvalidArgument,
        fmt::format("--ctx {} leaves nothing to predict in a window{}: it takes at least {}",
                    options.common.context, options.half ? " with --half" : "", least));
  }
  SLUICE_ASSIGN(TextSource text, TextSource::open(options.file, "--text", IllFormed::kRefused));
  options.common.files.add(options.file, "what --text names");
  SLUICE_ASSIGN(OpenedModel opened, open_model(options.common));
  Model& model = *opened.model;
  if (model.tokenizer() == nullptr) {
    return Status(ErrorCode::kUnsupported, fmt::format("{}: a text cannot be read: {}",
                                                       options.common.model, model.no_tokenizer()));
  }
  Session session(model);
  Evaluation evaluation(session, std::move(text), options.half);
  const Status status = evaluation.run();
  const bool stopped = status.code() == ErrorCode::kCancelled;
  if (!status.ok() && !stopped) return status;
  if (evaluation.score().tokens == 0) {
    return stopped
               ? status
               : Status(ErrorCode::kInvalidArgument,
                        options.file + ": too short: nothing " +
                            (options.half ? "is left to score with --half" : "can be predicted"));
  }
  // Before the text is read again: of the first time.
  nlohmann::json result = result_json(evaluation, model, stopped);
  if (options.common.stats) print_statistics(model);
  std::optional<Score> exact;
  if ((model.relaxation() != nullptr || model.widths() != nullptr) && !stopped) {
    SLUICE_ASSIGN(exact, score_exactly(session, options, evaluation.score().tokens));
  }
  // Where widths are chosen, what is held against it are all bits of the planes.
  const bool all_bits = model.widths() != nullptr;
  if (exact) {
    result[all_bits ? "all_bits" : "exact"] = {{"perplexity", exact->perplexity()},
                                               {"nll", exact->mean()}};
  }
  const char* const without = all_bits                    ? "with all bits of the planes"
                              : model.catalogue().exact() ? "without approximations"
                                                          : "at this width without the others";
  options.common.json ? print_json(result) : print_result(evaluation, exact, without, stopped);
  return opened.finish();
}

}  // namespace

Verb add_eval(CLI::App& root) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* app = root.add_subcommand("eval", "Perplexity of a text");
  options->common.add_to(*app, true);
  options->common.add_trace_to(*app);
  options->common.add_width_log_to(*app);
  options->common.add_approximations_to(*app);
  app->add_option("--text", options->file, "The text's file")->required();
  app->add_flag("--half", options->half,
                "Score only the second half of each window, as llama.cpp's tool does");
  return {app, [options] { return eval(*options); }};
}

}  // namespace sluice::apps

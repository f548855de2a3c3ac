// sluice eval: perplexity of a text.

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/report.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

constexpr std::uint32_t kDefaultWindow = 512;

struct EvalOptions {
  CommonOptions common;
  std::string file;
  bool half = false;
};

/// -log of the probability of `target`, in nats; summed in double because a vocabulary is long.
double negative_log_likelihood(std::span<const float> logits, TokenId target) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - peak);
  return std::log(sum) + peak - logits[static_cast<std::size_t>(target)];
}

struct Score {
  double nll = 0;
  std::size_t tokens = 0;
  double perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }
};

/// Every token of the window but the first is predicted; with `half`, only those after the middle
/// count.
Status score_window(Session& session, std::span<const TokenId> window, bool half, Score& score) {
  const std::size_t first_target = half ? window.size() / 2 + 1 : 1;
  session.truncate(0);
  const LogitsSink sink = [&](std::size_t row, std::span<const float> logits) {
    if (row + 1 < first_target || row + 1 >= window.size()) return;
    score.nll += negative_log_likelihood(logits, window[row + 1]);
    ++score.tokens;
  };
  return session.eval(window, Session::Logits::kAll, sink, {.cancel = &cancel_requested()});
}

Status eval(EvalOptions& options) {
  if (options.common.context == 0) options.common.context = kDefaultWindow;
  SLUICE_ASSIGN(const std::string text, read_text(options.file));
  SLUICE_ASSIGN(OpenedModel opened, open_model(options.common));
  Model& model = *opened.model;
  if (model.tokenizer() == nullptr) {
    return Status(ErrorCode::kUnsupported,
                  options.common.model + ": carries no tokenizer, so it cannot read a text");
  }
  const std::vector<TokenId> tokens = model.tokenizer()->encode(text);
  if (tokens.size() < 2)
    return Status(ErrorCode::kInvalidArgument,
                  options.file + ": too short: nothing can be predicted");

  Session session(model);
  Score score;
  const std::size_t window = session.context();
  const bool progress = isatty(STDERR_FILENO) != 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t first = 0; first + 1 < tokens.size(); first += window) {
    const std::size_t count = std::min(window, tokens.size() - first);
    SLUICE_TRY(score_window(session, {tokens.data() + first, count}, options.half, score));
    if (progress)
      fmt::print(stderr, "\r{} of {} tokens, perplexity {:.4f} ", first + count, tokens.size(),
                 score.perplexity());
  }
  if (progress) fmt::print(stderr, "\n");
  if (score.tokens == 0)
    return Status(ErrorCode::kInvalidArgument,
                  options.file + ": too short for --half: nothing was scored");
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.common.json) {
    print_json({{"perplexity", score.perplexity()},
                {"nll", score.nll / static_cast<double>(score.tokens)},
                {"tokens", score.tokens},
                {"ctx", window},
                {"tok_s", static_cast<double>(tokens.size()) / seconds},
                {"experts", experts_json(model.expert_statistics())},
                {"memory", memory_json(model)}});
  } else {
    fmt::print("perplexity {:.4f} over {} tokens (windows of {})\n", score.perplexity(),
               score.tokens, window);
  }
  if (options.common.stats) print_statistics(model);
  return {};
}

}  // namespace

Verb add_eval(CLI::App& root) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* app = root.add_subcommand("eval", "Perplexity of a text");
  options->common.add_to(*app, true);
  app->add_option("--text", options->file, "The text's file")->required();
  app->add_flag("--half", options->half,
                "Score only the second half of each window, as llama.cpp's tool does");
  return {app, [options] { return eval(*options); }};
}

}  // namespace sluice::apps

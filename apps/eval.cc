// sluice eval: perplexity of a text.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <vector>

#include "apps/evaluation.h"
#include "apps/options.h"
#include "apps/report.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

struct EvalOptions {
  CommonOptions common;
  std::string file;
  bool half = false;
};

/// What the approximations cost: the same text once more, without them. None of a text that cannot
/// be read twice, or where not all was seen.
Result<std::optional<Score>> score_exactly(Session& session, const EvalOptions& options,
                                           std::size_t tokens) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(options.file, ignored)) return std::optional<Score>();
  SLUICE_ASSIGN(TextSource text, TextSource::open(options.file, "--text", IllFormed::kRefused));
  PassOptions exactly;
  exactly.exact = true;
  Evaluation evaluation(session, std::move(text), options.half, exactly);
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

/// Too little text to score anything, or stopped before.
Status nothing_scored(const Status& status, const EvalOptions& options) {
  if (!status.ok()) return status;
  return Status(ErrorCode::kInvalidArgument,
                options.file + ": too short: nothing " +
                    (options.half ? "is left to score with --half" : "can be predicted"));
}

/// At one width.
Status eval_once(EvalOptions& options) {
  SLUICE_ASSIGN(TextSource text, TextSource::open(options.file, "--text", IllFormed::kRefused));
  options.common.files.add(options.file, "what --text names");
  SLUICE_ASSIGN(OpenedModel opened, open_model(options.common));
  Model& model = *opened.model;
  SLUICE_TRY(check_tokenizer(model, options.common.model));
  Session session(model);
  Evaluation evaluation(session, std::move(text), options.half);
  const Status status = evaluation.run();
  const bool stopped = status.code() == ErrorCode::kCancelled;
  if (!status.ok() && !stopped) return status;
  if (evaluation.score().tokens == 0) return nothing_scored(status, options);
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
  const char* const without = all_bits                        ? "with all bits of the planes"
                              : model.catalogue().reads_all() ? "without approximations"
                                                              : "at this width without the others";
  options.common.json ? print_json(result) : print_result(evaluation, exact, without, stopped);
  return opened.finish();
}

/// The common options for one of several widths.
CommonOptions at_width(const EvalOptions& options, unsigned width) {
  CommonOptions common = options.common;
  common.width = width;
  if (width != kAutoWidth) common.narrow.reset();
  return common;
}

/// What would be found wrong after the widths before it had been scored.
Status check_widths(const EvalOptions& options) {
  const std::vector<unsigned>& widths = options.common.widths;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(options.file, ignored)) {
    return Status(ErrorCode::kInvalidArgument,
                  options.file +
                      ": is no file that can be read once for each width: give one, or "
                      "one width");
  }
  if (!options.common.trace_routing.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "--trace-routing records one run: give --width one width");
  }
  if (!(options.common.width_log + options.common.width_replay).empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "--width-log and --width-replay are of one run: give --width one width");
  }
  if (options.common.narrow && std::ranges::count(widths, kAutoWidth) == 0) {
    return check_narrow(options.common);
  }
  for (const unsigned width : widths) {
    const auto outline = open_outline(at_width(options, width));
    if (!outline.ok()) return outline.status();
  }
  return {};
}

void print_widths(const nlohmann::json& widths) {
  const auto exact = std::ranges::find_if(
      widths, [](const nlohmann::json& one) { return one["width"] == "exact"; });
  fmt::print("{:<8}{:>14}{:>13}{:>10}\n", "width", "bits a weight", "perplexity",
             exact == widths.end() ? "" : "cost");
  for (const nlohmann::json& one : widths) {
    const double perplexity = one["perplexity"];
    std::string cost;
    if (exact != widths.end() && exact->at("tokens") == one["tokens"]) {
      cost =
          fmt::format("{:+.2f} %", 100 * (perplexity / exact->at("perplexity").get<double>() - 1));
    }
    fmt::print("{:<8}{:>14.2f}{:>13.4f}{:>10}{}\n",
               one["width"].is_string() ? one["width"].get<std::string>() : one["width"].dump(),
               one["experts"]["mean_bits"].get<double>(), perplexity, cost,
               one["partial"].get<bool>() ? "  partial: stopped before the end of the text" : "");
  }
}

/// At one width after the other, each as if it had been asked for alone.
Status eval_widths(const EvalOptions& options) {
  SLUICE_TRY(check_widths(options));
  nlohmann::json widths = nlohmann::json::array();
  bool stopped = false;
  std::size_t window = 0;
  for (const unsigned width : options.common.widths) {
    SLUICE_ASSIGN(TextSource text, TextSource::open(options.file, "--text", IllFormed::kRefused));
    CommonOptions common = at_width(options, width);
    SLUICE_ASSIGN(OpenedModel opened, open_model(common));
    SLUICE_TRY(check_tokenizer(*opened.model, common.model));
    Session session(*opened.model);
    Evaluation evaluation(session, std::move(text), options.half);
    const Status status = evaluation.run();
    stopped = status.code() == ErrorCode::kCancelled;
    if (!status.ok() && !stopped) return status;
    window = evaluation.window();
    if (evaluation.score().tokens != 0) {
      widths.push_back(result_json(evaluation, *opened.model, stopped));
      widths.back()["width"] = widths.back()["experts"]["width"];
      if (common.stats) print_statistics(*opened.model);
    } else if (widths.empty()) {
      return nothing_scored(status, options);
    }
    if (stopped) break;
  }
  if (options.common.json) {
    print_json({{"widths", widths}, {"ctx", window}, {"partial", stopped}});
  } else {
    print_widths(widths);
  }
  return {};
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
  return options.common.widths.size() > 1 ? eval_widths(options) : eval_once(options);
}

}  // namespace

Verb add_eval(CLI::App& root) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* app = root.add_subcommand("eval", "Perplexity of a text");
  options->common.add_to(*app, true, Widths::kSeveral);
  options->common.add_trace_to(*app);
  options->common.add_width_log_to(*app);
  options->common.add_approximations_to(*app);
  app->add_option("--text", options->file, "The text's file")->required();
  app->add_flag("--half", options->half,
                "Score only the second half of each window, as llama.cpp's tool does");
  return {app, [options] { return eval(*options); }};
}

}  // namespace sluice::apps

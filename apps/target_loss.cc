#include "apps/target_loss.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "apps/evaluation.h"
#include "engine/width_choice.h"

namespace sluice::apps {
namespace {

/// Bits between what suffices and what does not, where the search ends.
constexpr double kFine = 0.05;

class LossSearch {
 public:
  LossSearch(double percent, const std::string& text, const CommonOptions& common,
             const StorePlan& plan, RestingWidths& widths)
      : percent_(percent), text_(text), common_(common), plan_(plan), widths_(widths) {
    if (common_.context == 0) common_.context = kDefaultWindow;
  }

  Result<LossFound> run() {
    SLUICE_ASSIGN(runtime_, common_.create_runtime());
    SLUICE_TRY(read_exactly());
    // With experts in parts, one model serves every trial.
    SLUICE_ASSIGN(const std::unique_ptr<Model> model, open(kAutoWidth));
    Session session(*model);
    SLUICE_TRY(search(session));
    widths_.chosen = std::move(best_);
    return found_;
  }

 private:
  Result<std::unique_ptr<Model>> open(unsigned width) {
    SLUICE_ASSIGN(ModelOutline outline, ModelOutline::open(common_.model, width));
    ModelOptions options = common_.model_options();
    options.calibration = "";  // what the option names says where bits go
    options.narrow.reset();
    options.tolerance = {};
    auto model = Model::open(*runtime_, std::move(outline), options);
    if (!model.ok()) {
      return Status(
          model.status().code(),
          fmt::format("{}: to try --target-loss: {}{}", common_.model, model.status().message(),
                      model.status().code() == ErrorCode::kBudget
                          ? " (--ram is the budget, --ctx the window)"
                          : ""));
    }
    SLUICE_TRY(check_tokenizer(**model, common_.model));
    return model;
  }

  /// With all that the store has of each expert, floats beside planes, too.
  Status read_exactly() {
    SLUICE_ASSIGN(const std::unique_ptr<Model> model, open(kExactWidth));
    Session session(*model);
    SLUICE_ASSIGN(const Score score, read(session, {}));
    found_.exact = score.perplexity();
    found_.tokens = score.tokens;
    spdlog::info("exact: perplexity {:.4f} over {} tokens", found_.exact, found_.tokens);
    return {};
  }

  Result<Score> read(Session& session, const PassOptions& pass) {
    SLUICE_ASSIGN(TextSource text, TextSource::open(text_, "--text", IllFormed::kRefused));
    Evaluation evaluation(session, std::move(text), false, pass);
    SLUICE_TRY(evaluation.run());
    found_.evaluations += 1;
    if (evaluation.score().tokens > 0) return evaluation.score();
    return Status(ErrorCode::kInvalidArgument, text_ + ": too short: nothing can be predicted");
  }

  Status search(Session& session) {
    const double least = widths_.least_bits(), most = widths_.most_bits();
    double low = least, high = most;
    while (high - low > kFine) {
      const double middle = (low + high) / 2;
      SLUICE_ASSIGN(const bool suffices, suffice(session, middle));
      suffices ? high = found_.bits : low = middle;
    }
    // Neither end of what there is has been tried yet.
    if (low == least) SLUICE_TRY(suffice(session, least).status());
    if (found_.bits == 0) SLUICE_TRY(suffice(session, most).status());
    if (found_.bits != 0) return {};
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--target-loss {:g}: all {:.3f} bits that the planes have lose more: "
                              "ask for more than that",
                              percent_, most));
  }

  /// Whether so many bits lose little enough; they are then the best so far.
  Result<bool> suffice(Session& session, double bits) {
    SLUICE_TRY(widths_.choose(bits));
    WidthChoice rests(session.model().catalogue(), widths_.by_layer(plan_));
    PassOptions pass;
    pass.widths = &rests;
    SLUICE_ASSIGN(const Score score, read(session, pass));
    const double percent = 100 * (score.perplexity() / found_.exact - 1);
    const bool suffices = percent <= percent_;
    spdlog::info("{:.3f} bits: perplexity {:.4f} ({:+.3f} %){}", widths_.mean_bits(),
                 score.perplexity(), percent, suffices ? "" : ": too much");
    if (suffices) {
      best_ = widths_.chosen;
      found_.bits = widths_.mean_bits();
      found_.perplexity = score.perplexity();
    } else {
      found_.too_few_bits = std::max(found_.too_few_bits, bits);
    }
    return suffices;
  }

  const double percent_;
  const std::string& text_;
  CommonOptions common_;
  const StorePlan& plan_;
  RestingWidths& widths_;
  std::unique_ptr<Runtime> runtime_;
  WidthPlan best_;
  LossFound found_;
};

}  // namespace

Status check_target_loss(const std::string& text, const std::string& model, const StorePlan& plan) {
  for (const StoreNestedLayer& layer : plan.nested_layers) {
    if (layer.tensors[0].nested) continue;
    return Status(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: --target-loss tries widths by running the model, which takes a store that "
                    "has them: make one with 'sluice pack MODEL --nested --out FILE.slc' first, "
                    "and give that",
                    model));
  }
  std::error_code ignored;
  if (std::filesystem::is_regular_file(text, ignored)) return {};
  // Says so where it is not there.
  SLUICE_TRY(TextSource::open(text, "--text").status());
  return Status(ErrorCode::kInvalidArgument,
                text + ": --text: is no file that can be read again and again");
}

void print_loss(const LossFound& found) {
  fmt::print(
      "{:.3f} bits lose {:.3f} % of perplexity ({:.4f}, exact {:.4f}, over {} tokens; read "
      "{} times){}\n",
      found.bits, found.percent(), found.perplexity, found.exact, found.tokens, found.evaluations,
      found.too_few_bits == 0 ? "; there are no fewer"
                              : fmt::format("; {:.3f} lose too much", found.too_few_bits));
}

Result<LossFound> meet_target_loss(double percent, const std::string& text,
                                   const CommonOptions& common, const StorePlan& plan,
                                   RestingWidths& widths) {
  return LossSearch(percent, text, common, plan, widths).run();
}

}  // namespace sluice::apps

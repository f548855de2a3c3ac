// sluice check: is this checkpoint read rightly?

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "apps/check_step.h"
#include "apps/options.h"
#include "apps/printable.h"
#include "apps/progress_line.h"
#include "apps/report.h"

namespace sluice::apps {
namespace {

constexpr std::uint32_t kContext = 1024;  // what the built-in texts take, with any tokenizer

constexpr const char* kDamaged =
    "compare the file's checksum with its source's, or download it again";

/// The steps so far, each printed as soon as it is known.
class Report {
 public:
  explicit Report(bool json) : json_(json) {}

  void add(CheckStep step) {
    worst_ = std::max(worst_, step.verdict);
    if (step.verdict == Verdict::kFailed) failed_ += (failed_.empty() ? "" : ", ") + step.name;
    if (!json_) print(step);
    list_.push_back({{"name", step.name},
                     {"verdict", name_of(step.verdict)},
                     {"found", step.found},
                     {"remedy", step.remedy},
                     {"details", step.details}});
  }

  void skip(const char* name, const std::string& why) {
    add({.name = name, .verdict = Verdict::kSkipped, .found = why, .remedy = {}});
  }

  void fail(const char* name, const Status& status, const char* remedy) {
    add({.name = name, .verdict = Verdict::kFailed, .found = status.message(), .remedy = remedy});
  }

  /// `loaded`: null where it came not so far.
  Status finish(const std::string& model, const Model* loaded) {
    const char* verdict = name_of(worst_ == Verdict::kSkipped ? Verdict::kOk : worst_);
    if (json_) {
      nlohmann::json json{{"model", model}, {"verdict", verdict}, {"steps", list_}};
      if (loaded != nullptr) add_use(json, *loaded);
      print_json(json);
    } else {
      fmt::print("{:<12}{}\n", "verdict", verdict);
    }
    if (worst_ != Verdict::kFailed) return {};
    return Status(
        ErrorCode::kCorrupt,
        fmt::format("{}: failed: {}; the remedies stand beside these steps", model, failed_));
  }

 private:
  static void print(const CheckStep& step) {
    std::string found = step.found;
    std::ranges::replace(found, '\n', ' ');
    fmt::print("{:<12}{:<12}{}\n", step.name, name_of(step.verdict), printable(found));
    if (!step.remedy.empty()) fmt::print("{:<24}remedy: {}\n", "", step.remedy);
    std::fflush(stdout);
  }

  const bool json_;
  Verdict worst_ = Verdict::kOk;
  std::string failed_;
  nlohmann::json list_ = nlohmann::json::array();
};

CheckStep describe(const ModelOutline& outline) {
  const Checkpoint& checkpoint = outline.checkpoint;
  CheckStep step{.name = "open", .found = {}, .remedy = {}};
  step.found = fmt::format("{}, {}, {} tensors, {} layers, {} experts of which a token takes {}",
                           checkpoint.architecture, checkpoint.container, checkpoint.tensors.size(),
                           outline.description.layers.size(), outline.description.router.experts,
                           outline.description.router.top_k);
  step.details = {{"architecture", checkpoint.architecture},
                  {"container", checkpoint.container},
                  {"files", checkpoint.files}};
  if (!checkpoint.unreadable.empty()) {
    const auto& [name, format] = *checkpoint.unreadable.begin();
    step.verdict = Verdict::kSuspicious;
    step.found += fmt::format("; {} tensors are in formats that cannot be read, such as {} in {}",
                              checkpoint.unreadable.size(), name, format);
    step.remedy = "they are not used here; if the model needs them, it will answer worse";
  }
  return step;
}

/// What the planes are of that lie beside the source's numbers.
Checkpoint planes_alone(const Checkpoint& checkpoint) {
  Checkpoint planes = checkpoint;
  std::erase_if(planes.tensors, [](const auto& named) {
    return !named.second.nested || named.second.ranges.empty();
  });
  for (auto& [name, tensor] : planes.tensors) {
    tensor.ranges.clear();
    tensor.stored.reset();
  }
  return planes;
}

/// One step that reads weights, with its progress. An error is what ends the command, not what is
/// wrong with the file.
template <typename Check>
Status check_reading(const char* name, const char* what, Report& report, const Check& check) {
  ProgressLine line;
  const SurveyProgress progress = [&](std::uint64_t done, std::uint64_t all) {
    const auto whole = static_cast<double>(std::max<std::uint64_t>(all, 1));
    line.show(
        fmt::format("reading the {}: {:.0f} %", what, 100 * static_cast<double>(done) / whole));
  };
  Result<CheckStep> step = check(progress);
  line.clear();
  const ErrorCode code = step.status().code();
  if (code == ErrorCode::kCancelled || code == ErrorCode::kBudget) return step.status();
  step.ok() ? report.add(std::move(*step)) : report.fail(name, step.status(), kDamaged);
  return {};
}

/// The file's numbers.
Status check_weights(const ModelOutline& outline, Runtime& runtime, Report& report) {
  const auto survey = [&](const Checkpoint& checkpoint, const char* name) {
    return [&checkpoint, &runtime, name](const SurveyProgress& progress) -> Result<CheckStep> {
      SLUICE_ASSIGN(const auto weights, survey_weights(checkpoint, runtime, progress));
      CheckStep step = check_tensors(weights, checkpoint);
      step.name = name;
      return step;
    };
  };
  const Checkpoint& checkpoint = outline.checkpoint;
  if (!checkpoint.blocks.empty()) {
    SLUICE_TRY(check_reading("blocks", "blocks", report, [&](const SurveyProgress& progress) {
      return check_blocks(checkpoint, runtime, progress);
    }));
  }
  SLUICE_TRY(check_reading("tensors", "weights", report, survey(checkpoint, "tensors")));
  const Checkpoint planes = planes_alone(checkpoint);
  if (planes.tensors.empty()) return {};
  return check_reading("planes", "planes", report, survey(planes, "planes"));
}

/// What the model makes of texts; without a tokenizer, of ids.
Status check_model(Model& model, Report& report) {
  const bool reads = model.tokenizer() != nullptr;
  auto prediction = reads ? check_prediction(model) : check_logits_alone(model);
  if (prediction.status().code() == ErrorCode::kCorrupt) {
    report.fail("prediction", prediction.status(), "see what the steps before say");
    report.skip("answer", "the model cannot be computed");
    return {};
  }
  SLUICE_TRY(prediction);
  report.add(std::move(*prediction));
  if (!reads) {
    report.skip("answer", "there is no tokenizer");
    return {};
  }
  auto answer = check_answer(model);
  if (answer.status().code() == ErrorCode::kCorrupt) {
    report.fail("answer", answer.status(), "see what the steps before say");
    return {};
  }
  SLUICE_TRY(answer);
  report.add(std::move(*answer));
  return {};
}

Status check(const CommonOptions& common) {
  SLUICE_ASSIGN(const std::unique_ptr<Runtime> runtime, common.create_runtime());
  Report report(common.json);
  auto outline = ModelOutline::open(common.model, common.width);
  if (!outline.ok()) {
    if (outline.status().code() == ErrorCode::kNotFound) return outline.status();
    report.fail("open", outline.status(),
                "a damaged file: download it again; an unknown kind of model: 'info' says what it "
                "is");
    return report.finish(common.model, nullptr);
  }
  SLUICE_TRY(check_width(common, *outline));
  report.add(describe(*outline));
  SLUICE_TRY(check_weights(*outline, *runtime, report));
  if (outline->tokenizer != nullptr) {
    report.add(check_tokenizer(*outline->tokenizer));
    report.add(check_template(*outline->tokenizer));
  } else {
    report.skip("tokenizer", outline->no_tokenizer);
    report.skip("template", "there is no tokenizer");
  }
  ModelOptions options = common.model_options();
  if (options.context == 0) {
    options.context = std::min(kContext, outline->description.context_length);
  }
  auto loaded = load_model(*runtime, std::move(*outline), options);
  if (loaded.status().code() == ErrorCode::kCorrupt) {
    report.fail("prediction", loaded.status(), "see what the steps before say");
    return report.finish(common.model, nullptr);
  }
  SLUICE_ASSIGN(const std::unique_ptr<Model> model, std::move(loaded));
  SLUICE_TRY(check_model(*model, report));
  const Status status = report.finish(common.model, model.get());
  if (common.stats) print_statistics(*model);
  return status;
}

}  // namespace

Verb add_check(CLI::App& root) {
  auto options = std::make_shared<CommonOptions>();
  CLI::App* app = root.add_subcommand(
      "check", "Is this checkpoint read rightly? Looks at every weight, reads and writes a text");
  options->add_to(*app, true);
  return {app, [options] { return check(*options); }};
}

}  // namespace sluice::apps

#pragma once
// Options that several verbs share, and how a verb is written.

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/routing_recorder.h"
#include "apps/run_files.h"
#include "apps/width_log.h"
#include "base/status.h"
#include "engine/model.h"
#include "engine/runtime.h"

namespace sluice::apps {

/// How many --width a verb takes: several, with commas between them, are that many runs.
enum class Widths { kOne, kSeveral };

/// --ram, --vram, --threads, --ctx, --kv, --compute, --policy, --json …
struct CommonOptions {
  std::string model;
  std::string ram;   // as written: "1.5G"
  std::string vram;  // likewise; empty: none
  std::optional<unsigned> gpu_layers;
  std::string placement = "auto";
  std::string machine_costs = "auto";  // file
  unsigned threads = 0;
  std::uint32_t context = 0;
  std::string kv = "f16";
  std::string compute = "q8";
  std::string policy = "auto";
  std::string predict = "auto";
  std::optional<std::string> calibration;
  std::uint32_t batch = 0;                 // rows in a pass
  std::uint32_t sequences = 1, seats = 0;  // as ModelOptions has them
  std::string trace_routing;               // file
  std::string width_log, width_replay;     // files
  RouteTolerance tolerance;                // --skip, --prefer-resident
  unsigned width = kExactWidth;
  std::vector<unsigned> widths;  // with Widths::kSeveral all, the first being `width`
  std::optional<float> narrow;
  bool json = false;
  bool stats = false;
  RunFiles files;  // what a verb reads it adds before it opens the model

  void add_to(CLI::App& app, bool runs_the_model, Widths widths = Widths::kOne);
  /// --ram, --threads and --ctx alone, of a verb that runs the model on the way to something else.
  void add_machine_to(CLI::App& app);
  /// --trace-routing, of verbs that compute what the user gives them.
  void add_trace_to(CLI::App& app);
  /// --width-log and --width-replay, of those that compute it once.
  void add_width_log_to(CLI::App& app);
  /// --skip and --prefer-resident, of the same verbs.
  void add_approximations_to(CLI::App& app);
  /// Warns of a --ram that this process cannot get.
  Result<std::unique_ptr<Runtime>> create_runtime() const;
  ModelOptions model_options() const;

 private:
  void add_width_to(CLI::App& app, Widths widths);
  void add_device_to(CLI::App& app);
};

/// A runtime and the model opened in it.
struct OpenedModel {
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Model> model;
  std::unique_ptr<RoutingRecorder> recorder;  // null without --trace-routing
  std::unique_ptr<WidthRecorder> width_log;   // … --width-log
  std::unique_ptr<WidthReplay> width_replay;  // … --width-replay

  /// Opens what is written and replayed beside the results. From here on `common.files` has these,
  /// the model and its calibration.
  Status open_records(CommonOptions& common, const Checkpoint& checkpoint);
  /// When the model is open, which takes `top_k` experts for a token.
  Status attach_records(std::uint32_t top_k);
  /// When nothing more is computed: whether all that was asked for could be recorded.
  Status finish();
};
/// `check` sees what is known before any weight is read, and may refuse it.
using OutlineCheck = std::function<Status(const ModelOutline& outline)>;
Result<OpenedModel> open_model(CommonOptions& common, const OutlineCheck& check = {});
/// kInvalidArgument: --narrow says what nobody asks.
Status check_narrow(const CommonOptions& common);
/// The same; or a width was asked for, and there is none but the model's own.
Status check_width(const CommonOptions& common, const ModelOutline& outline);
/// ModelOutline::open at the width that was asked for, which is checked. Warns where planes have
/// fewer bits than that.
Result<ModelOutline> open_outline(const CommonOptions& common);
/// Model::open, but a refusal names the options that help, and approximations are warned of.
Result<std::unique_ptr<Model>> load_model(Runtime& runtime, ModelOutline outline,
                                          const ModelOptions& options);

/// Registers a verb; its action runs after parsing. A failed Status is printed and gives exit
/// status 1.
using Action = std::function<Status()>;
struct Verb {
  CLI::App* app = nullptr;
  Action action;
};

Verb add_run(CLI::App& root);
Verb add_chat(CLI::App& root);
Verb add_check(CLI::App& root);
Verb add_eval(CLI::App& root);
Verb add_logits(CLI::App& root);
Verb add_tokenize(CLI::App& root);
Verb add_info(CLI::App& root);
Verb add_bench(CLI::App& root);
Verb add_simulate(CLI::App& root);
Verb add_calibrate(CLI::App& root);
Verb add_pack(CLI::App& root);
Verb add_serve(CLI::App& root);
Verb add_plan(CLI::App& root);

/// For CLI11: a number that is not a number passes its range checks.
inline const auto kFinite = CLI::Validator(
    [](const std::string& text) {
      return std::isfinite(std::strtod(text.c_str(), nullptr)) ? std::string()
                                                               : text + " is not a finite number";
    },
    "", "finite");
/// For CLI11: the file that an option asks for has a name.
inline const auto kNamesAFile = CLI::Validator(
    [](const std::string& path) {
      return path.empty() ? std::string("an empty name names no file") : std::string();
    },
    "");
/// For CLI11, of an option with a delimiter and before its other checks: of a value of delimiters
/// alone nothing is left, and the parser takes the option that follows for it.
inline const auto kListed = CLI::Validator(
    [](const std::string& text) {
      return text.starts_with("--") ? "it names nothing: what follows it is " + text
                                    : std::string();
    },
    "");
/// For CLI11: what a conversion refuses without saying what it would take.
inline const CLI::Range kUnsigned32(std::uint32_t{0}, std::numeric_limits<std::uint32_t>::max());
/// Warns of a context beyond the model's own.
void warn_of_context(std::uint32_t context, const ModelDescription& model);
/// kInvalidArgument with the remedy, where `tokens` exceed the context of a verb that cannot shift.
Status check_context(std::size_t tokens, const Model& model);
/// kCorrupt, naming the model and the position, where a logit is not a finite number.
Status check_logits(std::span<const float> logits, std::size_t position, const Model& model);
/// What a computation found wrong with its numbers (kCorrupt), with the file and the remedy.
Status damaged(const Status& status, const Model& model);
/// "1,2,3" → ids; kInvalidArgument names what is not a number.
Result<std::vector<TokenId>> parse_ids(const std::string& text);

}  // namespace sluice::apps

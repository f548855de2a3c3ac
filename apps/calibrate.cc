// sluice calibrate: fits what foretells a model's experts to a text and says how right it is, and
// finds out what quantising them should keep best.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <set>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/output_file.h"
#include "apps/recall_table.h"
#include "apps/report.h"
#include "apps/text_source.h"
#include "base/cancellation.h"
#include "engine/importance_sums.h"
#include "engine/session.h"
#include "engine/skip_sensitivity.h"
#include "experts/counting_gates.h"
#include "experts/gate_combiner.h"
#include "formats/expert_tensors.h"
#include "formats/imatrix_writer.h"
#include "gates/gate_corrections.h"
#include "gates/gate_fit.h"
#include "gates/gate_recall.h"

namespace sluice::apps {
namespace {

constexpr std::uint32_t kDefaultWindow = 512;
constexpr std::size_t kFewestDifferent = 16;  // tokens of a text
constexpr std::uint32_t kFarthest = 2;        // layers ahead that are tested
constexpr GateInput kInputs[] = {GateInput::kRouterInput, GateInput::kLayerInput};

struct CalibrateOptions {
  CommonOptions common;
  std::string text;
  std::optional<std::string> out;  // empty: no corrections
  std::string imatrix;
  std::uint32_t fit = 32768;
  std::uint32_t test = 4096;
  std::uint32_t ahead = 1;
  std::uint32_t sensitivity = 512;

  bool corrects() const { return out != ""; }
};

/// What an importance matrix tells of.
struct Importances {
  std::size_t experts = 0;
  std::size_t unseen = 0;  // of them, those that the text did not go to
};

class Calibration {
 public:
  Calibration(Model& model, const CalibrateOptions& options, std::uint64_t memory)
      : model_(model),
        options_(options),
        memory_(memory),
        session_(model),
        shape_{static_cast<std::uint32_t>(model.description().layers.size()),
               model.description().router.experts, model.description().router.top_k},
        gate_memory_(model.max_rows() * (shape_.experts + model.description().hidden)) {}

  /// Cuts the text where fitting ends and testing begins. kInvalidArgument: it is too short.
  Status take(TextSource text) {
    const std::string path = text.path();
    TokenSource source(std::move(text), *model_.tokenizer(), {});
    const std::size_t to_test = options_.corrects() ? options_.test : 0;
    const std::size_t most = options_.fit + to_test;
    for (bool more = true; more && tokens_.size() < most;) {
      SLUICE_ASSIGN(more, source.next(tokens_));
    }
    tokens_.resize(std::min(tokens_.size(), most));
    if (tokens_.size() < 64) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("{}: {} tokens say too little: give a longer text, the more like "
                                "what the model will read and write the better",
                                path, tokens_.size()));
    }
    if (const std::size_t different = std::set(tokens_.begin(), tokens_.end()).size();
        different < kFewestDifferent) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("{}: {} different tokens, over and over, say too little: give a "
                                "text of the kind that the model will read and write",
                                path, different));
    }
    split_ = tokens_.size() - std::min(to_test, tokens_.size() / 4);
    // As many unknowns as each expert's correction has: on tales corrected routers were worse than
    // uncorrected ones up to 1.5 times as many tokens, and most so at as many.
    const std::size_t enough = std::size_t{2} * model_.description().hidden;
    if (options_.corrects() && split_ < enough) {
      spdlog::warn(
          "{}: {} tokens to fit to: corrections of fewer than {} may foretell worse than none, for "
          "they fit chance; give a longer text (--text) or more of it (--fit)",
          path, split_, enough);
    }
    return {};
  }

  /// Of the routed experts' matrices, in as many readings of the text as the memory makes
  /// necessary.
  Result<Importances> write_importances(OutputFile& file) {
    const ModelDescription& model = model_.description();
    std::vector<std::uint32_t> sparse;
    std::vector<ImportanceWriter::Entry> entries;
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
      if (!model.layers[layer].sparse) continue;
      sparse.push_back(layer);
      for (const std::string_view matrix : kExpertMatrices) {
        entries.push_back({expert_tensor_name(layer, matrix), shape_.experts,
                           matrix == "down" ? model.expert_ffn : model.hidden});
      }
    }
    const auto windows = static_cast<std::uint32_t>((split_ - 1) / session_.context() + 1);
    ImportanceWriter writer([&](std::span<const std::byte> bytes) { return file.write(bytes); });
    SLUICE_TRY(writer.begin(
        entries, {.name = options_.text, .chunks = windows, .chunk_size = session_.context()}));
    const std::size_t at_once =
        std::max<std::size_t>(1, memory_ / ImportanceSums::layer_bytes(model));
    Importances found{.experts = sparse.size() * shape_.experts};
    for (std::size_t first = 0; first < sparse.size(); first += at_once) {
      const auto layers =
          std::span(sparse).subspan(first, std::min(at_once, sparse.size() - first));
      SLUICE_ASSIGN(ImportanceSums sums, ImportanceSums::create(model, layers));
      SLUICE_TRY(read(std::span(tokens_).first(split_), model_.max_rows(), sums));
      for (const std::uint32_t layer : layers) {
        const std::span<const std::uint64_t> counts = sums.counts(layer);
        for (const std::string_view matrix : kExpertMatrices) {
          SLUICE_TRY(damaged(
              writer.add(matrix == "down" ? sums.hidden(layer) : sums.inputs(layer), counts),
              model_));
        }
        found.unseen += static_cast<std::size_t>(std::ranges::count(counts, 0u));
      }
      spdlog::info("importances of {} of {} layers found on {} tokens", first + layers.size(),
                   sparse.size(), split_);
    }
    return found;
  }

  /// Fits in as many readings of the text as the memory makes necessary.
  Result<std::vector<FittedGate>> fit() {
    struct Unit {
      GateInput input;
      std::uint32_t ahead, layer;
    };
    std::vector<Unit> units;
    for (const GateInput input : kInputs) {
      for (std::uint32_t ahead = 1; ahead <= options_.ahead; ++ahead) {
        for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
          if (model_.description().layers[layer].sparse) units.push_back({input, ahead, layer});
        }
      }
    }
    const std::size_t at_once = std::max<std::size_t>(
        1, memory_ / GateFit::layer_bytes(model_.description(), model_.max_rows()));
    std::vector<FittedGate> fitted;
    for (std::size_t first = 0; first < units.size(); first += at_once) {
      const std::size_t end = std::min(units.size(), first + at_once);
      std::vector<std::unique_ptr<GateFit>> fits;
      for (std::size_t i = first; i < end; ++i) {
        if (i == first || units[i].input != units[i - 1].input ||
            units[i].ahead != units[i - 1].ahead) {
          fits.push_back(std::make_unique<GateFit>(model_.description(), layers(), compute(),
                                                   gate_memory(), units[i].input, units[i].ahead));
        }
        fits.back()->add(units[i].layer);
      }
      std::vector<RoutingObserver*> each;
      for (const auto& one : fits) each.push_back(one.get());
      RoutingObservers observers(each);
      SLUICE_TRY(read(std::span(tokens_).first(split_), model_.max_rows(), observers));
      for (const auto& one : fits) {
        SLUICE_TRY(check_cancelled(&cancel_requested()));
        std::ranges::move(one->solve(), std::back_inserter(fitted));
      }
      spdlog::info("fitted {} of {} gates to {} tokens", end, units.size(), split_);
    }
    return fitted;
  }

  /// How sensitive each layer is to skipping, `[layers]`; empty where nobody asked.
  Result<std::vector<float>> measure_sensitivities() {
    if (options_.sensitivity == 0 || shape_.top_k < 2) return std::vector<float>();
    const std::size_t tokens = std::min<std::size_t>(options_.sensitivity, split_);
    SLUICE_ASSIGN(const std::vector<float> sensitivities,
                  measure_skip_sensitivities(session_, std::span(tokens_).first(tokens),
                                             &cancel_requested()));
    spdlog::info("measured on {} tokens how sensitive layers are to skipping", tokens);
    return sensitivities;
  }

  /// Token by token, as in decode.
  Result<std::vector<Recall>> test(const GateCorrections& corrections) {
    std::vector<std::unique_ptr<GatePredictor>> predictors;
    std::vector<GateRecall::Entry> entries;
    const auto add = [&](std::unique_ptr<GatePredictor> predictor, std::uint32_t ahead,
                         bool corrected = false) {
      std::string name(predictor->name());
      if (corrected) name += ", corrected";
      entries.push_back({predictor.get(), ahead, std::move(name)});
      predictors.push_back(std::move(predictor));
    };
    for (std::uint32_t ahead = 1; ahead <= kFarthest; ++ahead) {
      add(std::make_unique<PopularityGate>(shape_), ahead);
      add(std::make_unique<LastChoiceGate>(shape_), ahead);
      add(std::make_unique<AffinityGate>(shape_, ahead), ahead);
      for (const bool corrected : {false, true}) {
        if (corrected && ahead > options_.ahead) break;
        for (const GateInput input : kInputs) {
          add(gate(input, ahead, corrected ? &corrections : nullptr), ahead, corrected);
        }
      }
      std::vector<std::unique_ptr<GatePredictor>> members;
      members.push_back(std::make_unique<PopularityGate>(shape_));
      members.push_back(std::make_unique<AffinityGate>(shape_, ahead));
      for (const GateInput input : kInputs) members.push_back(gate(input, ahead, &corrections));
      add(std::make_unique<GateCombiner>(shape_, std::move(members)), ahead);
    }
    GateRecall recall(shape_, std::move(entries));
    SLUICE_TRY(read(std::span(tokens_).subspan(split_), 1, recall));
    return recall.results();
  }

  const GateShape& shape() const { return shape_; }
  std::size_t fitted_tokens() const { return split_; }
  std::size_t tested_tokens() const { return tokens_.size() - split_; }

 private:
  const std::vector<LayerWeights>& layers() const { return model_.weights().layers(); }
  Compute& compute() const { return model_.runtime().compute(); }
  GateMemory gate_memory() {
    return {gate_memory_.data(), gate_memory_.data() + model_.max_rows() * shape_.experts};
  }
  std::unique_ptr<RouterGate> gate(GateInput input, std::uint32_t ahead,
                                   const GateCorrections* corrections) {
    auto gate = std::make_unique<RouterGate>(model_.description(), layers(), compute(),
                                             gate_memory(), input, ahead);
    if (corrections != nullptr) corrections->apply(*gate);
    return gate;
  }

  /// In windows of the context, at most `rows` in a pass.
  Status read(std::span<const TokenId> tokens, std::size_t rows, RoutingObserver& observer) {
    session_.truncate(0);
    for (std::size_t first = 0; first < tokens.size();) {
      if (session_.length() == session_.context()) session_.truncate(0);
      const std::size_t room = session_.context() - session_.length();
      const std::size_t count = std::min({rows, room, tokens.size() - first});
      SLUICE_TRY(session_.eval(tokens.subspan(first, count), Session::Logits::kNone, {},
                               {.observer = &observer, .cancel = &cancel_requested()}));
      first += count;
    }
    return {};
  }

  Model& model_;
  const CalibrateOptions& options_;
  const std::uint64_t memory_;
  Session session_;
  const GateShape shape_;
  std::vector<float> gate_memory_;
  std::vector<TokenId> tokens_;
  std::size_t split_ = 0;
};

/// What of the budget is for calibrating.
struct Reserve {
  std::uint64_t sums = 0;    // while the text is read
  std::uint64_t beside = 0;  // what is fitted
};

/// The sums of as many layers or gates as half of what is spare has room for, and at least of one.
Reserve reserve(const CalibrateOptions& options, const ModelDescription& model, std::size_t rows,
                std::uint64_t spare) {
  std::uint64_t one = 0, all = 0, beside = 0;
  const std::uint64_t layers = model.layers.size();
  if (options.corrects()) {
    const std::uint64_t gates = layers * std::size(kInputs) * options.ahead;
    const std::uint64_t fitted =
        gates * model.router.experts * (std::uint64_t{model.hidden} + 1) * sizeof(float);
    beside = 2 * fitted + GateFit::solving_bytes(model);  // then its file twice, in float16
    one = GateFit::layer_bytes(model, rows);
    all = one * gates;
  }
  if (!options.imatrix.empty()) {  // before there is anything fitted
    one = std::max(one, ImportanceSums::layer_bytes(model));
    all = std::max(all, layers * ImportanceSums::layer_bytes(model));
  }
  return {std::max(one, std::min(all, (spare - std::min(spare, beside)) / 2)), beside};
}

/// Null where no path is given. From here on `files` has it.
Result<std::optional<OutputFile>> create_output(const std::string& path, const std::string& what,
                                                RunFiles& files) {
  if (path.empty()) return std::optional<OutputFile>();
  SLUICE_ASSIGN(OutputFile file, OutputFile::create(path, files));
  files.add(path, what);
  return std::optional<OutputFile>(std::move(file));
}

/// Writes the importance matrix, prints what it tells of or puts it into `report`.
Status find_importances(Calibration& calibration, const CalibrateOptions& options, OutputFile& file,
                        nlohmann::json& report) {
  SLUICE_ASSIGN(const Importances found, calibration.write_importances(file));
  SLUICE_TRY(file.close());
  report["imatrix"] = {{"file", options.imatrix},
                       {"tokens", calibration.fitted_tokens()},
                       {"experts", found.experts},
                       {"unseen", found.unseen}};
  if (options.common.json) return {};
  fmt::print("{}: importances of {} experts, found on {} tokens{}\n", options.imatrix,
             found.experts, calibration.fitted_tokens(),
             found.unseen == 0 ? ""
                               : fmt::format("; {} of them saw none: a longer text "
                                             "would tell of them",
                                             found.unseen));
  return {};
}

/// The same for the corrections.
Status correct(Calibration& calibration, const Model& model, const CalibrateOptions& options,
               const std::string& path, OutputFile& file, nlohmann::json& report) {
  SLUICE_ASSIGN(const std::vector<FittedGate> fitted, calibration.fit());
  SLUICE_ASSIGN(const std::vector<float> sensitivities, calibration.measure_sensitivities());
  SLUICE_TRY(file.write(GateCorrections::to_file(fitted, sensitivities, model.description(),
                                                 model.weights().layers())));
  SLUICE_TRY(file.close());
  SLUICE_ASSIGN(const GateCorrections corrections,
                GateCorrections::read(path, model.description(), model.weights().layers()));
  SLUICE_ASSIGN(const std::vector<Recall> results, calibration.test(corrections));
  report.update({{"file", path},
                 {"gates", corrections.count()},
                 {"fitted_tokens", calibration.fitted_tokens()},
                 {"tested_tokens", calibration.tested_tokens()},
                 {"sensitivities", sensitivities},
                 {"recall", recall_json(results, calibration.shape())}});
  if (options.common.json) return {};
  print_recall(results, calibration.shape(), calibration.tested_tokens());
  if (!sensitivities.empty()) {
    fmt::print("sensitivity of each layer to skipping: {:.2f}\n", fmt::join(sensitivities, " "));
  }
  fmt::print("{}: {} corrections, fitted to {} tokens\n", path, corrections.count(),
             calibration.fitted_tokens());
  return {};
}

Status calibrate(CalibrateOptions& options) {
  if (!options.corrects() && options.imatrix.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "--out \"\" leaves nothing to write: name a file with --imatrix");
  }
  if (options.common.context == 0) options.common.context = kDefaultWindow;
  SLUICE_ASSIGN(TextSource text, TextSource::open(options.text, "--text", IllFormed::kRefused));
  options.common.files.add(options.text, "what --text names");
  SLUICE_ASSIGN(const std::unique_ptr<Runtime> runtime, options.common.create_runtime());
  if (options.common.width == kAutoWidth) {
    return Status(ErrorCode::kInvalidArgument,
                  "--width auto goes by what is measured here: calibrate with --width exact");
  }
  SLUICE_ASSIGN(ModelOutline outline, open_outline(options.common));
  if (outline.tokenizer == nullptr) {
    return Status(ErrorCode::kUnsupported, fmt::format("{}: a text cannot be read: {}",
                                                       options.common.model, outline.no_tokenizer));
  }
  ModelOptions model_options = options.common.model_options();
  model_options.calibration = "";  // is about to be written anew
  SLUICE_ASSIGN(const MemoryPlan least, outline.plan(0, *runtime, model_options));
  const std::uint64_t spare = runtime->ram() - std::min(runtime->ram(), least.minimum);
  const Reserve reserved = reserve(options, outline.description, least.rows, spare);
  model_options.reserved = reserved.sums + reserved.beside;
  SLUICE_ASSIGN(const std::unique_ptr<Model> model,
                load_model(*runtime, std::move(outline), model_options));

  Calibration calibration(*model, options, reserved.sums);
  SLUICE_TRY(calibration.take(std::move(text)));
  RunFiles& files = options.common.files;
  files.add(model->checkpoint());
  // Before the long work: a place that cannot be written to is heard of now.
  const std::string path = options.out.value_or(GateCorrections::default_path(model->checkpoint()));
  SLUICE_ASSIGN(std::optional<OutputFile> corrections,
                create_output(path, "where the corrections go", files));
  SLUICE_ASSIGN(std::optional<OutputFile> imatrix,
                create_output(options.imatrix, "what --imatrix names", files));
  nlohmann::json report;
  if (imatrix) SLUICE_TRY(find_importances(calibration, options, *imatrix, report));
  if (corrections) {
    SLUICE_TRY(correct(calibration, *model, options, path, *corrections, report));
  }
  if (options.common.json) {
    add_use(report, *model);
    print_json(report);
  }
  if (options.common.stats) print_statistics(*model);
  return {};
}

}  // namespace

Verb add_calibrate(CLI::App& root) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* app = root.add_subcommand(
      "calibrate", "Fit what foretells a model's experts to a text, and say how right it is");
  options->common.add_to(*app, true);
  app->add_option("--text", options->text, "The text's file: of the kind that the model works on")
      ->required();
  app->add_option("--out", options->out,
                  "Where the corrections go (default: beside the model, where they are found; "
                  "\"\": none are fitted)");
  app->add_option("--imatrix", options->imatrix,
                  "Write how large each input of the experts' matrices is, as llama.cpp's "
                  "importance matrix (GGUF)");
  app->add_option("--fit", options->fit, "Most tokens to fit to")
      ->check(CLI::Range(48u, 1u << 24))
      ->capture_default_str();
  app->add_option("--test", options->test, "Most tokens, after those, to test on")
      ->check(CLI::Range(16u, 1u << 24))
      ->capture_default_str();
  app->add_option("--sensitivity", options->sensitivity,
                  "Tokens of those to fit to, read again for each layer: how sensitive it is to "
                  "--skip (0: not measured)")
      ->check(CLI::Range(0u, 1u << 24))
      ->capture_default_str();
  app->add_option("--ahead", options->ahead, "Layers that corrections look ahead")
      ->check(CLI::Range(1u, kFarthest))
      ->capture_default_str();
  return {app, [options] { return calibrate(*options); }};
}

}  // namespace sluice::apps

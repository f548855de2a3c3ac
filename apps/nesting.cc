#include "apps/nesting.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "apps/byte_progress.h"
#include "apps/cancel.h"
#include "apps/options.h"
#include "formats/expert_tensors.h"
#include "gates/gate_corrections.h"

namespace sluice::apps {
namespace {

bool fits(const std::string& pattern, const std::string& tensor) {
  return ::fnmatch(pattern.c_str(), tensor.c_str(), 0) == 0;
}

/// The types of integers that can be nested: "Q8_0, Q4_0 and MXFP4".
std::string integer_sources(std::string_view last) {
  std::string names;
  for (const NestedForm& form : nested_forms()) {
    if (form.fitted) continue;
    if (!names.empty()) names += &form == &nested_forms().back() ? last : ", ";
    names += tensor_format(form.source).name;
  }
  return names;
}

/// --nested, --keep and --drop-floats; floats beside planes would be more bits than are wanted.
StoreChoice choice_of(const NestingOptions& options) {
  StoreChoice choice;
  choice.keep_floats = !options.drop_floats && !options.rests();
  if (!options.nests()) return choice;
  choice.nest = [&options](const std::string& tensor) {
    return std::ranges::none_of(options.keep,
                                [&](const std::string& pattern) { return fits(pattern, tensor); });
  };
  return choice;
}

/// A pattern that keeps nothing is a slip, and a pack takes long.
Status check_keep(const NestingOptions& options, const Checkpoint& checkpoint) {
  for (const std::string& pattern : options.keep) {
    const bool keeps = std::ranges::any_of(checkpoint.tensors, [&](const auto& named) {
      const auto layer = layer_of_experts(named.first);
      return layer && fits(pattern, expert_tensor_name(*layer, kExpertMatrices[0]));
    });
    if (keeps) continue;
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--keep '{}': fits no layer's experts, which go by their gates' "
                              "names, such as blk.0.ffn_gate_exps.weight: 'blk.0.*' keeps layer 0",
                              pattern));
  }
  return {};
}

/// One of another model tells nothing of any matrix.
Status check_importance(const ImportanceMatrix& importance, const StorePlan& plan,
                        const std::string& path) {
  std::size_t known = 0, all = 0;
  for (const StoreNestedLayer& layer : plan.nested_layers) {
    for (const TensorInfo& tensor : layer.tensors) {
      known += importance.has(tensor.name) ? 1 : 0;
      ++all;
    }
  }
  if (known == 0) {
    return Status(ErrorCode::kInvalidArgument,
                  path +
                      ": tells of none of this model's experts: 'sluice calibrate MODEL --text "
                      "FILE --imatrix FILE' makes one that does");
  }
  if (known < all) {
    spdlog::warn("{}: tells of {} of {} matrices of experts; the columns of the others count alike",
                 path, known, all);
  }
  return {};
}

/// What a store's planes are cut like was said when they were.
Status check_cut(const NestingOptions& options, const StorePlan& plan, const std::string& model) {
  const bool cut = std::ranges::any_of(plan.nested_layers, [](const StoreNestedLayer& layer) {
    return layer.tensors[0].nested.has_value();
  });
  const bool asks = !options.keep.empty() || (!options.imatrix.empty() && !options.rests());
  if (!cut || !asks) return {};
  return {ErrorCode::kInvalidArgument,
          fmt::format("{}: its experts are cut into planes already, and stay as they are: {} what "
                      "it was made of",
                      model, options.keep.empty() ? "with --imatrix, pack" : "with --keep, pack")};
}

/// Who asks for planes and gets them in some layers only wants to know.
void warn_of_left_layers(const StorePlan& plan) {
  const StoreLeftLayers& left = plan.left_layers;
  if (left.unfit == 0) return;
  const TensorInfo& tensor = left.first_unfit;
  spdlog::warn(
      "{} of {} layers of experts are nested; {} others stay as they are: '{}' is {} in rows of {}",
      plan.nested_layers.size(), plan.nested_layers.size() + left.unasked + left.unfit, left.unfit,
      tensor.name, tensor_format(tensor.type).name, tensor.shape.back());
}

}  // namespace

void NestingOptions::add_to(CLI::App& app) {
  app.add_flag(
      "--nested", nested,
      "Cut experts into groups of bit planes, so that --width can read them narrower: of floats, " +
          integer_sources(" and ") + ". Integers keep their numbers; floats are kept, too");
  app.add_option("--target-bits", target_bits,
                 "Bits a weight that experts have on average in the file, scales included: each "
                 "rests at a width of its own, the narrower the less it is taken (as --imatrix "
                 "knows) and errs. Implies --nested; keeps no floats")
      ->check(CLI::Range(0.01, 1000.0) & kFinite);
  CLI::Option* const loss = app.add_option(
      "--target-loss", target_loss,
      "The fewest --target-bits with which perplexity of --text rises by at most so many percent, "
      "found by trying, of a store that --nested made");
  loss->check(CLI::NonNegativeNumber & kFinite)->excludes("--target-bits");
  CLI::Option* const of = app.add_option(
      "--text", text,
      "The text of --target-loss: best another one than --imatrix and --calibration were measured "
      "on, which bits go by");
  loss->needs(of);
  of->needs(loss);
  app.add_flag("--drop-floats", drop_floats,
               "Do not keep floats that are nested: the store's 8 bits are then all there is");
  app.add_option("--imatrix", imatrix,
                 "How large the inputs of each column are, as 'sluice calibrate --imatrix' or "
                 "llama.cpp writes it: narrow widths then err where it matters least");
  app.add_option("--keep", keep,
                 "Patterns of tensors, such as 'blk.0.*': layers whose ffn_gate_exps fits one are "
                 "not nested");
  app.parse_complete_callback([this] {
    if (!calibration.empty() && !rests())
      throw CLI::RequiresError("--calibration", "--target-bits or --target-loss");
    if (nests()) return;
    const bool any = drop_floats || !imatrix.empty() || !keep.empty();
    if (any)
      throw CLI::RequiresError("--drop-floats, --imatrix or --keep",
                               "--nested, --target-bits or --target-loss");
  });
}

Result<NestingPlan> plan_nesting(const NestingOptions& options, const Checkpoint& checkpoint,
                                 const std::string& model) {
  SLUICE_TRY(check_keep(options, checkpoint));
  NestingPlan plan{
      .choice = choice_of(options), .store = {}, .importance = {}, .sensitivities = {}};
  SLUICE_ASSIGN(plan.store, plan_store(checkpoint, plan.choice));
  if (options.nests() && plan.store.nested.empty()) {
    return Status(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: --nested: no layer's experts can be nested: that takes floats, "
                    "{} in rows of a multiple of {} (K-quants: 256), in layers that --keep "
                    "does not leave as they are",
                    model, integer_sources(" or "), kNestedBlock));
  }
  SLUICE_TRY(check_cut(options, plan.store, model));
  if (options.nests()) warn_of_left_layers(plan.store);
  if (!options.imatrix.empty()) {
    SLUICE_ASSIGN(plan.importance, ImportanceMatrix::open(options.imatrix));
    SLUICE_TRY(check_importance(*plan.importance, plan.store, options.imatrix));
  }
  if (options.rests() && !options.calibration.empty()) {
    SLUICE_ASSIGN(const ModelDescription description, ModelDescription::from(checkpoint));
    SLUICE_ASSIGN(plan.sensitivities,
                  GateCorrections::read_sensitivities(options.calibration, description));
  }
  return plan;
}

Result<Rested> rest(const NestingOptions& options, const CommonOptions& common,
                    const Checkpoint& checkpoint, BlockReader& reader, NestingPlan& plan) {
  if (options.target_loss) {
    SLUICE_TRY(check_target_loss(options.text, common.model, plan.store));
  }
  std::optional<ByteProgress> progress;
  const auto measured = [&progress](std::uint64_t done, std::uint64_t all) {
    if (!progress) progress.emplace(all, 0);
    progress->update(done);
  };
  auto widths = plan_resting_widths(checkpoint, plan.store, reader,
                                    {.bits = options.target_bits.value_or(0),
                                     .importance = plan.known(),
                                     .sensitivities = plan.sensitivities,
                                     .progress = measured,
                                     .cancel = &cancel_requested()});
  progress.reset();
  if (!widths.ok()) {
    return widths.status().with_context(
        options.target_bits ? fmt::format("--target-bits {:g}", *options.target_bits)
                            : "--target-loss");
  }
  Rested rested{.widths = std::move(*widths), .loss = {}, .whole = {}};
  if (options.target_loss) {
    SLUICE_ASSIGN(rested.loss, meet_target_loss(*options.target_loss, options.text, common,
                                                plan.store, rested.widths));
  }
  plan.choice.widths = rested.widths.by_layer(plan.store);
  rested.whole = std::move(plan.store);
  SLUICE_ASSIGN(plan.store, plan_store(checkpoint, plan.choice));
  return rested;
}

nlohmann::json Rested::json() const {
  nlohmann::json json = {{"mean_bits", widths.mean_bits()}};
  if (!loss) return json;
  json["target_loss"] = {{"percent", loss->percent()},
                         {"perplexity", loss->perplexity},
                         {"exact", loss->exact},
                         {"tokens", loss->tokens},
                         {"evaluations", loss->evaluations},
                         {"too_few_bits", loss->too_few_bits}};
  return json;
}

}  // namespace sluice::apps

// sluice pack: a model becomes one file, a store, in which every expert lies together.

#include <fmt/format.h>
#include <fnmatch.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apps/byte_progress.h"
#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/report.h"
#include "base/clock.h"
#include "base/size.h"
#include "base/system_memory.h"
#include "formats/checkpoint.h"
#include "formats/expert_tensors.h"
#include "formats/store_format.h"
#include "store/file_target.h"
#include "store/packer.h"

namespace sluice::apps {
namespace {

struct PackVerbOptions {
  CommonOptions common;
  std::string out;
  bool nested = false;
  bool drop_floats = false;
  std::string imatrix;
  std::vector<std::string> keep;
};

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

/// --nested, --keep and --drop-floats.
StoreChoice choice_of(const PackVerbOptions& options) {
  StoreChoice choice;
  choice.keep_floats = !options.drop_floats;
  if (!options.nested) return choice;
  choice.nest = [&options](const std::string& tensor) {
    return std::ranges::none_of(options.keep,
                                [&](const std::string& pattern) { return fits(pattern, tensor); });
  };
  return choice;
}

void announce(const Packer& packer, const StorePlan& plan, const FileTarget& target) {
  if (packer.started_over()) {
    spdlog::warn(
        "{}.partial: what an earlier pack left does not fit, since the model, the options or this "
        "program have changed: it starts over",
        target.path());
  } else if (packer.resumed_bytes() > 0) {
    spdlog::info("{}: goes on where an earlier pack stopped, after {} of {}", target.path(),
                 format_size(packer.resumed_bytes()), format_size(plan.file_bytes));
  }
}

/// The error with what becomes of what was packed. A stop prints nothing itself.
Status explain(const Status& status, const Packer& packer, const StorePlan& plan,
               const FileTarget& target) {
  const std::uint64_t kept = packer.kept_bytes();
  if (kept == 0) return status;
  const std::string words =
      fmt::format("{} of {} are packed and stay in {}.partial: the same command goes on there",
                  format_size(kept), format_size(plan.file_bytes), target.path());
  if (status.code() == ErrorCode::kCancelled) {
    spdlog::warn("stopped; {}", words);
    return status;
  }
  return {status.code(), fmt::format("{}; {}", status.message(), words)};
}

/// A pattern that keeps nothing is a slip, and a pack takes long.
Status check_keep(const PackVerbOptions& options, const Checkpoint& checkpoint) {
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

Status pack(const PackVerbOptions& options) {
  SLUICE_ASSIGN(const Checkpoint checkpoint, open_checkpoint(options.common.model));
  SLUICE_TRY(check_keep(options, checkpoint));
  SLUICE_ASSIGN(const StorePlan plan, plan_store(checkpoint, choice_of(options)));
  if (options.nested && plan.nested.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("{}: --nested: no layer's experts can be nested: that takes floats, "
                              "{} in rows of whole blocks, in layers that --keep does not leave "
                              "as they are",
                              options.common.model, integer_sources(" or ")));
  }
  std::optional<ImportanceMatrix> importance;
  if (!options.imatrix.empty()) {
    SLUICE_ASSIGN(importance, ImportanceMatrix::open(options.imatrix));
    SLUICE_TRY(check_importance(*importance, plan, options.imatrix));
  }
  std::vector<std::string> sources = plan.files;
  if (importance) sources.push_back(options.imatrix);
  SLUICE_ASSIGN(const std::unique_ptr<FileTarget> target, FileTarget::open(options.out, sources));
  SLUICE_ASSIGN(const std::unique_ptr<BlockReader> reader, make_block_reader(ReaderKind::kAuto));
  std::optional<ByteProgress> progress;
  SLUICE_ASSIGN(
      const std::unique_ptr<Packer> packer,
      Packer::begin(plan, *reader, *target,
                    {.progress = [&progress](std::uint64_t done) { progress->update(done); },
                     .cancel = &cancel_requested(),
                     .importance = importance ? &*importance : nullptr}));
  announce(*packer, plan, *target);
  const double started = steady_seconds();
  progress.emplace(plan.file_bytes, packer->resumed_bytes());
  const Status status = packer->run();
  progress.reset();
  if (!status.ok()) return explain(status, *packer, plan, *target);
  const double seconds = std::max(steady_seconds() - started, 1e-6);

  const double written = static_cast<double>(plan.file_bytes - packer->resumed_bytes());
  if (options.common.json) {
    const auto memory = process_memory();
    print_json({{"file", options.out},
                {"bytes", plan.file_bytes},
                {"blocks", plan.blocks.size()},
                {"resumed_bytes", packer->resumed_bytes()},
                {"source", checkpoint.container},
                {"seconds", seconds},
                {"peak_rss", memory.ok() ? memory->peak_resident : 0}});
  } else {
    fmt::print("{}: {} in {} blocks, packed in {:.1f} s ({:.0f} MB/s)\n", options.out,
               format_size(plan.file_bytes), plan.blocks.size(), seconds, written / seconds / 1e6);
  }
  return {};
}

}  // namespace

Verb add_pack(CLI::App& root) {
  auto options = std::make_shared<PackVerbOptions>();
  CLI::App* app = root.add_subcommand(
      "pack", "Make one file of a model, with every expert's bytes together and checked");
  options->common.add_to(*app, false);
  app->add_option("--out", options->out,
                  "The store that is written, such as model.slc; a pack that was stopped goes on "
                  "in the file of that name with .partial behind it")
      ->required();
  CLI::Option* const nested = app->add_flag(
      "--nested", options->nested,
      "Cut experts into groups of bit planes, so that --width can read them narrower: of floats, " +
          integer_sources(" and ") + ". Integers keep their numbers; floats are kept, too");
  app->add_flag("--drop-floats", options->drop_floats,
                "Do not keep floats that are nested: the store's 8 bits are then all there is")
      ->needs(nested);
  app->add_option("--imatrix", options->imatrix,
                  "How large the inputs of each column are, as 'sluice calibrate --imatrix' or "
                  "llama.cpp writes it: narrow widths then err where it matters least")
      ->needs(nested);
  app->add_option("--keep", options->keep,
                  "Patterns of tensors, such as 'blk.0.*': layers whose ffn_gate_exps fits one are "
                  "not nested")
      ->needs(nested);
  return {app, [options] { return pack(*options); }};
}

}  // namespace sluice::apps

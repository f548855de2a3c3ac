// sluice pack: a model becomes one file, a store, in which every expert lies together.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>

#include "apps/byte_progress.h"
#include "apps/cancel.h"
#include "apps/nesting.h"
#include "apps/options.h"
#include "apps/report.h"
#include "base/clock.h"
#include "base/size.h"
#include "base/system_memory.h"
#include "formats/checkpoint.h"
#include "formats/store_format.h"
#include "store/file_target.h"
#include "store/packer.h"

namespace sluice::apps {
namespace {

struct PackVerbOptions {
  CommonOptions common;
  std::string out;
  NestingOptions nesting;
};

void announce(const Packer& packer, const StorePlan& plan, const FileTarget& target) {
  if (packer.damaged_bytes() > 0) {
    spdlog::warn(
        "{}.partial: what an earlier pack left is damaged, or missing, behind {} of {}: {} are "
        "packed again",
        target.path(), format_size(packer.resumed_bytes()), format_size(plan.file_bytes),
        format_size(packer.damaged_bytes()));
  }
  if (packer.resumed_bytes() > 0) {
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

Status pack(const PackVerbOptions& options) {
  SLUICE_ASSIGN(const Checkpoint checkpoint, open_checkpoint(options.common.model));
  SLUICE_ASSIGN(NestingPlan nesting,
                plan_nesting(options.nesting, checkpoint, options.common.model));
  std::vector<std::string> sources = nesting.store.files;
  if (nesting.importance) sources.push_back(options.nesting.imatrix);
  SLUICE_ASSIGN(const std::unique_ptr<FileTarget> target, FileTarget::open(options.out, sources));
  SLUICE_ASSIGN(const std::unique_ptr<BlockReader> reader, make_block_reader(ReaderKind::kAuto));
  std::optional<Rested> rested;
  if (options.nesting.rests()) {
    SLUICE_ASSIGN(rested, rest(options.nesting, options.common, checkpoint, *reader, nesting));
  }
  const StorePlan& plan = nesting.store;
  std::optional<ByteProgress> progress;
  const auto checking = [&](std::uint64_t right, std::uint64_t listed) {
    if (!progress) {
      spdlog::info("{}.partial: {} of an earlier pack are read back, to see that they are right",
                   target->path(), format_size(listed));
      progress.emplace(listed, 0);
    }
    progress->update(right);
  };
  SLUICE_ASSIGN(
      const std::unique_ptr<Packer> packer,
      Packer::begin(plan, *reader, *target,
                    {.progress = [&progress](std::uint64_t done) { progress->update(done); },
                     .checking = checking,
                     .cancel = &cancel_requested(),
                     .importance = nesting.known()}));
  progress.reset();
  const bool was_packed = packer->was_packed();
  if (!was_packed) announce(*packer, plan, *target);
  const double started = steady_seconds();
  progress.emplace(plan.file_bytes, packer->resumed_bytes());
  const Status status = packer->run();
  progress.reset();
  if (!status.ok()) return explain(status, *packer, plan, *target);
  const double seconds = std::max(steady_seconds() - started, 1e-6);

  const double written = static_cast<double>(plan.file_bytes - packer->resumed_bytes());
  if (options.common.json) {
    const auto memory = process_memory();
    nlohmann::json json = {{"file", options.out},
                           {"bytes", plan.file_bytes},
                           {"blocks", plan.blocks.size()},
                           {"resumed_bytes", packer->resumed_bytes()},
                           {"source", checkpoint.container},
                           {"seconds", seconds},
                           {"peak_rss", memory.ok() ? memory->peak_resident : 0}};
    if (options.nesting.nests()) {
      const StoreLeftLayers& left = plan.left_layers;
      json["nested_layers"] = plan.nested_layers.size();
      json["expert_layers"] = plan.nested_layers.size() + left.unasked + left.unfit;
    }
    if (rested) json.update(rested->json());
    print_json(json);
  } else if (was_packed) {
    fmt::print("{}: {} in {} blocks, was packed already\n", options.out,
               format_size(plan.file_bytes), plan.blocks.size());
  } else {
    fmt::print("{}: {} in {} blocks, packed in {:.1f} s ({:.0f} MB/s)\n", options.out,
               format_size(plan.file_bytes), plan.blocks.size(), seconds, written / seconds / 1e6);
    if (rested && rested->loss) print_loss(*rested->loss);
  }
  // The store is what was asked for, and is there.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::clearerr(stdout);
    return {ErrorCode::kIo, fmt::format("{}: is complete; but what is said of it cannot be written "
                                        "to standard output",
                                        options.out)};
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
  options->nesting.add_to(*app);
  app->add_option("--calibration", options->nesting.calibration,
                  "What 'sluice calibrate' wrote of this model: layers that it knows to be "
                  "sensitive get more of the bits");
  options->common.add_machine_to(*app);
  for (const char* const name : {"--ram", "--threads", "--ctx"}) {
    app->get_option(name)->needs(app->get_option("--target-loss"));
  }
  return {app, [options] { return pack(*options); }};
}

}  // namespace sluice::apps

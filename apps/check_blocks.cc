// The blocks of a store's experts: each fits its checksum, whichever width reads it.

#include <fmt/format.h>

#include <map>

#include "apps/cancel.h"
#include "apps/check_step.h"
#include "apps/report.h"
#include "engine/model.h"
#include "experts/expert_catalogue.h"
#include "formats/checked_ranges.h"

namespace sluice::apps {
namespace {

using Blocks = std::map<std::uint64_t, CheckedBlock>;  // by their place

void add_blocks(const ExpertCatalogue& catalogue, Blocks& blocks) {
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (const auto& of_expert : layer.blocks) {
      for (const CheckedBlock& block : of_expert) blocks.emplace(block.offset, block);
    }
  }
}

}  // namespace

Result<CheckStep> check_blocks(const Checkpoint& checkpoint, Runtime& runtime,
                               const SurveyProgress& progress) {
  SLUICE_ASSIGN(const ExpertCatalogue exact, ExpertCatalogue::build(checkpoint));
  SLUICE_ASSIGN(const ExpertCatalogue planes,
                ExpertCatalogue::build(checkpoint, expert_widths().back()));
  Blocks blocks;
  add_blocks(exact, blocks);
  add_blocks(planes, blocks);
  SLUICE_ASSIGN(const std::vector<FileIndex> files, open_files(checkpoint, runtime.reader()));
  CheckedRanges ranges(checkpoint, runtime.reader(), files, &cancel_requested());
  CheckStep step{.name = "blocks", .found = {}, .remedy = {}};
  std::uint64_t done = 0, all = 0;
  for (const auto& [offset, block] : blocks) all += block.bytes;
  nlohmann::json damaged = nlohmann::json::array();
  for (const auto& [offset, block] : blocks) {
    const auto read = ranges.read({block.file, block.offset, block.bytes});
    if (!read.ok() && read.status().code() != ErrorCode::kCorrupt) return read.status();
    if (!read.ok()) {
      if (damaged.empty()) step.found = read.status().message();
      damaged.push_back({{"offset", block.offset}, {"bytes", block.bytes}});
    }
    progress(done += block.bytes, all);
  }
  step.details = {{"blocks", blocks.size()},
                  {"damaged", damaged},
                  {"resting", resting_json(exact.resting_widths())}};
  if (damaged.empty()) {
    step.found = fmt::format("{} blocks of experts fit their checksums", blocks.size());
    if (step.details["resting"].size() > 1) {
      step.found += "; " + resting_words(step.details["resting"]);
    }
    return step;
  }
  step.verdict = Verdict::kFailed;
  step.found = fmt::format("{} of {} blocks of experts are damaged: {}", damaged.size(),
                           blocks.size(), step.found);
  step.remedy = "pack the model again, or copy the store from where it is whole";
  return step;
}

}  // namespace sluice::apps

// sluice plan: says, before anything is packed or run, at which width each expert would rest and
// where everything would live.

#include <fmt/format.h>

#include <map>

#include "apps/budget.h"
#include "apps/nesting.h"
#include "apps/options.h"
#include "apps/report.h"
#include "base/size.h"
#include "engine/runtime.h"
#include "formats/expert_tensors.h"

namespace sluice::apps {
namespace {

struct PlanOptions {
  CommonOptions common;
  NestingOptions nesting;
};

/// What a layer's experts, or those of all layers, come to.
struct Resting {
  std::map<unsigned, std::uint64_t> experts;  // by width
  std::uint64_t bytes = 0;
  double error = 0;

  void add(unsigned width, const WidthOption& option) {
    ++experts[width];
    bytes += option.bytes;
    error += option.error;
  }
};

struct RestingTable {
  std::map<std::uint32_t, Resting> layers;
  Resting all;
};

RestingTable table_of(const RestingWidths& widths, const StorePlan& whole) {
  RestingTable table;
  for (std::size_t i = 0; i < whole.nested.size(); ++i) {
    const TensorInfo& gate = whole.nested_layers[whole.nested[i].layer].tensors[0];
    const WidthOption& option = widths.options[i][widths.chosen.options[i]];
    table.layers[layer_of_experts(gate.name).value_or(0)].add(widths.width(i), option);
    table.all.add(widths.width(i), option);
  }
  return table;
}

nlohmann::json table_json(const RestingTable& table, const Rested& rested, const StorePlan& store) {
  nlohmann::json layers = nlohmann::json::array();
  for (const auto& [layer, resting] : table.layers) {
    layers.push_back({{"layer", layer},
                      {"widths", resting_json(resting.experts)},
                      {"bytes", resting.bytes},
                      {"error", resting.error}});
  }
  const WidthPlan& chosen = rested.widths.chosen;
  nlohmann::json json = {{"layers", layers},
                         {"widths", resting_json(table.all.experts)},
                         {"bytes", chosen.bytes},
                         {"kept_bytes", rested.widths.kept_bytes},
                         {"error", chosen.error},
                         {"least_error", chosen.least_error},
                         {"file_bytes", store.file_bytes},
                         {"file_bytes_with_all_widths", rested.whole.file_bytes}};
  json.update(rested.json());
  return json;
}

void print_resting(const RestingTable& table, const Rested& rested, const StorePlan& store) {
  fmt::print("{:<8}", "layer");
  for (const auto& [width, experts] : table.all.experts) {
    fmt::print("{:>8}", fmt::format("{} bits", width));
  }
  fmt::print("{:>10}{:>10}\n", "bytes", "error");
  const auto row = [&](const std::string& name, const Resting& resting) {
    fmt::print("{:<8}", name);
    for (const auto& [width, experts] : table.all.experts) {
      const auto found = resting.experts.find(width);
      fmt::print("{:>8}", found == resting.experts.end() ? 0 : found->second);
    }
    const double share = table.all.error > 0 ? 100 * resting.error / table.all.error : 0;
    fmt::print("{:>10}{:>10}\n", format_size(resting.bytes), fmt::format("{:.1f} %", share));
  };
  for (const auto& [layer, resting] : table.layers) row(std::to_string(layer), resting);
  row("all", table.all);
  fmt::print("experts rest at {:.3f} bits a weight; a file of {}, with all widths {}\n",
             rested.widths.mean_bits(), format_size(store.file_bytes),
             format_size(rested.whole.file_bytes));
  if (rested.loss) print_loss(*rested.loss);
  fmt::print("\n");
}

Status plan(PlanOptions& options) {
  const CommonOptions& common = options.common;
  options.nesting.calibration = common.calibration.value_or("");
  SLUICE_ASSIGN(const std::unique_ptr<Runtime> runtime, common.create_runtime());
  SLUICE_ASSIGN(Checkpoint checkpoint, open_checkpoint(common.model));
  nlohmann::json json = nlohmann::json::object();
  if (options.nesting.nests()) {
    SLUICE_ASSIGN(NestingPlan nesting, plan_nesting(options.nesting, checkpoint, common.model));
    if (options.nesting.rests()) {
      SLUICE_ASSIGN(const Rested rested,
                    rest(options.nesting, common, checkpoint, runtime->reader(), nesting));
      const RestingTable table = table_of(rested.widths, rested.whole);
      json["resting"] = table_json(table, rested, nesting.store);
      if (!common.json) print_resting(table, rested, nesting.store);
    }
    // From here on the store is looked at as if it had been packed.
    SLUICE_ASSIGN(checkpoint, planned_checkpoint(nesting.store, common.model));
  }
  SLUICE_ASSIGN(const ModelOutline outline,
                ModelOutline::from(std::move(checkpoint), common.width));
  SLUICE_TRY(check_width(common, outline));
  SLUICE_ASSIGN(const nlohmann::json budget, budget_json(outline, *runtime, common));
  json.update(budget);
  if (common.json) {
    print_json(json);
  } else {
    print_budget(budget);
  }
  return {};
}

}  // namespace

Verb add_plan(CLI::App& root) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* app = root.add_subcommand(
      "plan",
      "Say where a model's bytes would live in a budget and, with --target-bits, at which width "
      "each expert of a store would rest; packs and runs nothing");
  options->common.add_to(*app, true);
  options->nesting.add_to(*app);
  return {app, [options] { return plan(*options); }};
}

}  // namespace sluice::apps

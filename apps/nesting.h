#pragma once
// The options of `pack` and `plan` that say what becomes of experts, and what follows from them.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/options.h"
#include "apps/target_loss.h"
#include "base/status.h"
#include "formats/checkpoint.h"
#include "formats/imatrix.h"
#include "formats/store_format.h"
#include "io/block_reader.h"
#include "store/resting_widths.h"

namespace sluice::apps {

struct NestingOptions {
  bool nested = false;
  bool drop_floats = false;
  std::optional<double> target_bits;
  std::optional<double> target_loss;  // in percent of perplexity
  std::string text;                   // that it is measured on
  std::string imatrix;
  std::string calibration;  // whose layers' sensitivities count; empty: all alike
  std::vector<std::string> keep;

  /// Whether experts rest at widths of their own.
  bool rests() const { return target_bits || target_loss; }
  bool nests() const { return nested || rests(); }
  /// Borrows this.
  void add_to(CLI::App& app);
};

/// A store, as far as it is planned.
struct NestingPlan {
  StoreChoice choice;
  StorePlan store;
  std::optional<ImportanceMatrix> importance;
  std::vector<float> sensitivities;  // of the layers; empty: all alike

  const ImportanceMatrix* known() const { return importance ? &*importance : nullptr; }
};

/// With all widths. Errors say which option they are of. The options outlive the plan.
Result<NestingPlan> plan_nesting(const NestingOptions& options, const Checkpoint& checkpoint,
                                 const std::string& model);

struct Rested {
  RestingWidths widths;
  std::optional<LossFound> loss;  // of --target-loss
  StorePlan whole;                // with all widths

  /// {"mean_bits"} and, of --target-loss, "target_loss".
  nlohmann::json json() const;
};

/// --target-bits and --target-loss: reads every expert, says how far that is, and finds the width
/// at which each rests. `plan.store` is then a store of these. `common`: for running the model.
Result<Rested> rest(const NestingOptions& options, const CommonOptions& common,
                    const Checkpoint& checkpoint, BlockReader& reader, NestingPlan& plan);

}  // namespace sluice::apps

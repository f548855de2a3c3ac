#pragma once
// What the engine would do with a budget: where a model's bytes would live. The engine's own plan.

#include <nlohmann/json.hpp>
#include <string>

#include "apps/options.h"
#include "engine/model.h"

namespace sluice::apps {

/// {"mean_bits","dense_bytes","expert_bytes","expert_count","min_ram","plan":{"ram","fits",
/// "context","threads","rows","process","kv","scratch","expert_cache","expert_share",
/// "experts_that_fit"}}, in bytes. Where the budget is below the minimum, the plan is the smallest
/// that works.
Result<nlohmann::json> budget_json(const ModelOutline& outline, Runtime& runtime,
                                   const CommonOptions& common);
/// The same as lines.
void print_budget(const nlohmann::json& budget);

}  // namespace sluice::apps

#include "apps/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/size.h"
#include "experts/expert_store.h"

namespace sluice::apps {

Result<nlohmann::json> budget_json(const ModelOutline& outline, Runtime& runtime,
                                   const CommonOptions& common) {
  const ModelOptions options = common.model_options();
  const auto plan = outline.plan(runtime.ram(), runtime, options);
  // A budget below the minimum is refused; what the smallest would look like is what was asked for.
  SLUICE_ASSIGN(const MemoryPlan needs,
                outline.plan(plan.ok() ? runtime.ram() : 0, runtime, options));
  const ExpertCatalogue& experts = outline.catalogue;
  const double full = static_cast<double>(ExpertStore::full_capacity(experts, runtime.reader()));
  const double share = full > 0 ? std::min(1.0, static_cast<double>(needs.cache) / full) : 1;
  return nlohmann::json{
      {"mean_bits", experts.mean_bits()},
      {"dense_bytes", outline.dense_bytes},
      {"expert_bytes", experts.total_bytes()},
      {"expert_count", experts.total_experts()},
      {"min_ram", needs.minimum},
      {"plan",
       {{"ram", runtime.ram()},
        {"fits", plan.ok()},
        {"context", needs.context},
        {"threads", needs.threads},
        {"rows", needs.rows},
        {"process", needs.process},
        {"kv", needs.kv},
        {"scratch", needs.scratch},
        {"expert_cache", needs.cache},
        {"expert_share", share},
        {"experts_that_fit",
         static_cast<std::uint64_t>(share * static_cast<double>(experts.total_experts()))}}}};
}

void print_budget(const nlohmann::json& budget) {
  const auto& plan = budget["plan"];
  const auto line = [](const char* label, const nlohmann::json& bytes, const std::string& words) {
    fmt::print("{:<16}{:>8}  {}\n", label, format_size(bytes.get<std::uint64_t>()), words);
  };
  const bool fits = plan["fits"].get<bool>();
  line("budget", plan["ram"], fits ? "" : "does not do: what the smallest that works has is shown");
  line("smallest", budget["min_ram"], fmt::format("{} bytes", budget["min_ram"].dump()));
  line("process", plan["process"],
       fmt::format("program, vocabulary, stacks of {} threads", plan["threads"].dump()));
  line("dense weights", budget["dense_bytes"], "in memory from the beginning");
  line("KV cache", plan["kv"], fmt::format("{} positions", plan["context"].dump()));
  line("scratch", plan["scratch"], fmt::format("passes of {} rows", plan["rows"].dump()));
  line("experts", plan["expert_cache"],
       fmt::format("{} of {} experts ({:.1f} %); the others are read when they are wanted: {} in "
                   "all, {:.2f} bits a weight",
                   plan["experts_that_fit"].dump(), budget["expert_count"].dump(),
                   100 * plan["expert_share"].get<double>(),
                   format_size(budget["expert_bytes"].get<std::uint64_t>()),
                   budget["mean_bits"].get<double>()));
}

}  // namespace sluice::apps

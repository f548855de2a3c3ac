#include "apps/report.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/size.h"
#include "base/system_memory.h"

namespace sluice::apps {
namespace {

double hit_rate(const ExpertStatistics& statistics) {
  if (statistics.requests == 0) return 0;
  return static_cast<double>(statistics.hits) / static_cast<double>(statistics.requests);
}

/// 0 where the system does not tell.
std::uint64_t peak_resident_bytes() {
  const auto memory = process_memory();
  return memory.ok() ? memory->peak_resident : 0;
}

/// In bytes, but for the context.
nlohmann::json memory_json(const Model& model) {
  const MemoryPlan& plan = model.plan();
  return {{"ram_budget", model.runtime().ram()},
          {"peak_rss", peak_resident_bytes()},
          {"dense", plan.dense},
          {"kv", plan.kv},
          {"scratch", plan.scratch},
          {"expert_cache", plan.cache},
          {"context", plan.context}};
}

}  // namespace

nlohmann::json experts_json(const ExpertStatistics& statistics) {
  return {{"requests", statistics.requests},
          {"hits", statistics.hits},
          {"loads", statistics.loads},
          {"expected", statistics.expected},
          {"expected_rightly", statistics.expected_rightly},
          {"hit_rate", hit_rate(statistics)},
          {"bytes_read", statistics.bytes_read},
          {"wait_ms", static_cast<double>(statistics.wait_nanoseconds) / 1e6}};
}

void add_use(nlohmann::json& json, const Model& model) {
  json["experts"] = experts_json(model.expert_statistics());
  json["dense"] = {{"bytes_read", model.dense_bytes_read()}};
  json["memory"] = memory_json(model);
}

void print_statistic(const std::string& line) { fmt::print(stderr, "sluice: {}\n", line); }

void print_statistics(const Model& model) {
  const ExpertStatistics statistics = model.expert_statistics();
  const ReaderInfo reader = model.runtime().reader().info();
  print_statistic(fmt::format(
      "experts: {} wanted, {:.1f} % in memory, {} read ({}; {} before they were asked "
      "for, {} of these rightly), waited {:.0f} ms for {}",
      statistics.requests, 100 * hit_rate(statistics), statistics.loads,
      format_size(statistics.bytes_read), statistics.expected, statistics.expected_rightly,
      static_cast<double>(statistics.wait_nanoseconds) / 1e6, reader.name));
  print_statistic(fmt::format("dense weights: {} read", format_size(model.dense_bytes_read())));
  print_statistic(fmt::format("memory: peak {} of {}", format_size(peak_resident_bytes()),
                              format_size(model.runtime().ram())));
}

void print_json(const nlohmann::json& object) {
  const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

}  // namespace sluice::apps

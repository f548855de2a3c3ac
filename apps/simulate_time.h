#pragma once
// `simulate --disk`: recorded routing on disks and a computer in virtual time, as a table or JSON.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/status.h"
#include "cache/cache_policy.h"
#include "cache/guess_worth.h"
#include "cache/routing_trace.h"

namespace sluice::apps {

struct TimeOptions {
  std::vector<std::string> disks;  // none: no virtual time is asked for
  std::string computer = "0.8ms+0.1ms";
  std::vector<std::string> guesses{"popularity", "paths", "0.5", "0.7", "0.9", "0.95"};
  std::uint32_t ahead = GuessWorth::kGrades;
};

/// Returns the option --disk, which the others need.
CLI::Option* add_time_options(CLI::App& app, TimeOptions& options);

/// What is run: each policy with each capacity.
struct TimedPolicies {
  const RoutingTrace& trace;
  const std::vector<std::string>& policies;
  const std::vector<std::string>& capacities;  // as they were written
  const std::vector<std::uint64_t>& capacity_bytes;
  /// A fresh one of `policies`; called from several threads.
  std::function<std::unique_ptr<CachePolicy>(std::size_t)> make_policy;
  unsigned threads = 0;  // runs at a time; 0: as many as there are processors
};

/// Writes rows to standard output: for each policy, capacity and disk one without reading ahead,
/// and for each guesser one that reads all that it says, and one that reads what is worth it.
Status simulate_time(const TimeOptions& options, const TimedPolicies& what, bool json);

}  // namespace sluice::apps

#pragma once
// What was measured of one kind of work: speeds of its stretches, and all that its experts took.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/report.h"
#include "experts/expert_store.h"

namespace sluice::apps {

class BenchPhase {
 public:
  void add(std::uint32_t tokens, double seconds, const ExpertStatistics& experts) {
    tokens_per_second_.push_back(tokens / seconds);
    seconds_ += seconds;
    experts_ += experts;
  }

  /// REQUIRES, as the rest: something was added.
  double median() const {
    std::vector<double> sorted = tokens_per_second_;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 != 0 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  /// Share of the time in which nothing was computed, for lack of an expert.
  double waiting() const { return static_cast<double>(experts_.wait_nanoseconds) / 1e9 / seconds_; }
  nlohmann::json json() const {
    const auto [least, most] = std::ranges::minmax(tokens_per_second_);
    return {{"tok_s", median()},
            {"min", least},
            {"max", most},
            {"seconds", seconds_},
            {"experts", experts_json(experts_)}};
  }

 private:
  std::vector<double> tokens_per_second_;
  double seconds_ = 0;
  ExpertStatistics experts_;
};

}  // namespace sluice::apps

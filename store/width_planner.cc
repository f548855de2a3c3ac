#include "store/width_planner.h"

#include <algorithm>
#include <functional>
#include <string>

namespace sluice {
namespace {

/// From one option of an expert to a wider one.
struct Step {
  std::size_t expert = 0;
  std::size_t to = 0;
  std::uint64_t bytes = 0;
  double gain = 0;
  double of_byte = 0;  // gain
};

Step step(std::span<const WidthOption> options, std::size_t expert, std::size_t from,
          std::size_t to) {
  const std::uint64_t bytes = options[to].bytes - options[from].bytes;
  const double gain = options[from].error - options[to].error;
  return {expert, to, bytes, gain, gain / static_cast<double>(bytes)};
}

/// Along the lower convex hull: a byte of each step gains less than one of the step before it, and
/// something.
void add_hull(std::span<const WidthOption> options, std::size_t expert, std::vector<Step>& steps) {
  const std::size_t first = steps.size();
  for (std::size_t at = 0;;) {
    Step best;
    for (std::size_t to = at + 1; to < options.size(); ++to) {
      const Step tried = step(options, expert, at, to);
      // Of points on one line the farthest.
      if (tried.gain > 0 && (best.bytes == 0 || tried.of_byte >= best.of_byte)) best = tried;
    }
    if (best.bytes == 0) return;
    // Rounding must not bring a step before the one that it follows.
    if (steps.size() > first) best.of_byte = std::min(best.of_byte, steps.back().of_byte);
    steps.push_back(best);
    at = best.to;
  }
}

/// The change of one expert that gains most in so many bytes; {.bytes = 0}: there is none.
Step best_change(std::span<const std::vector<WidthOption>> experts, const WidthPlan& plan,
                 std::uint64_t bytes) {
  Step best;
  for (std::size_t expert = 0; expert < experts.size(); ++expert) {
    const std::size_t from = plan.options[expert];
    for (std::size_t to = from + 1; to < experts[expert].size(); ++to) {
      const Step tried = step(experts[expert], expert, from, to);
      if (tried.bytes <= bytes && tried.gain > best.gain) best = tried;
    }
  }
  return best;
}

void take(const Step& step, WidthPlan& plan) {
  plan.options[step.expert] = step.to;
  plan.bytes += step.bytes;
}

double error_of(std::span<const std::vector<WidthOption>> experts, const WidthPlan& plan) {
  double sum = 0;
  for (std::size_t i = 0; i < experts.size(); ++i) sum += experts[i][plan.options[i]].error;
  return sum;
}

}  // namespace

Result<WidthPlan> plan_widths(std::span<const std::vector<WidthOption>> experts,
                              std::uint64_t most_bytes) {
  WidthPlan plan{.options = std::vector<std::size_t>(experts.size())};
  std::vector<Step> steps;
  for (std::size_t expert = 0; expert < experts.size(); ++expert) {
    plan.bytes += experts[expert].front().bytes;
    add_hull(experts[expert], expert, steps);
  }
  if (plan.bytes > most_bytes) {
    return Status(ErrorCode::kInvalidArgument, "the narrowest widths take " +
                                                   std::to_string(plan.bytes) + " bytes of " +
                                                   std::to_string(most_bytes));
  }
  // An expert's own keep their order.
  std::ranges::stable_sort(steps, std::greater<>(), &Step::of_byte);
  for (const Step& next : steps) {
    const std::uint64_t left = most_bytes - plan.bytes;
    if (next.bytes <= left) {
      take(next, plan);
      continue;
    }
    plan.least_error = error_of(experts, plan) - next.of_byte * static_cast<double>(left);
    if (const Step change = best_change(experts, plan, left); change.bytes != 0) {
      take(change, plan);
    }
    plan.error = error_of(experts, plan);
    return plan;
  }
  plan.error = plan.least_error = error_of(experts, plan);
  return plan;
}

}  // namespace sluice

#pragma once
// Gives each expert a resting width: of its widths, each so many bytes at so much error, one, so
// that all together fit into so many bytes and err little. That is a multiple-choice knapsack. Of
// each expert's widths those on the lower convex hull of error over bytes are taken one after the
// other, over all experts in the order of what a byte gains, as long as they fit (the optimum for
// just these bytes: Lagrange's); what is left goes to the one change that gains most in it.
//
// So with more bytes the sum of errors never grows, and it is above the least possible by less than
// what the first step that did not fit would have gained. For an expert of thousands that is
// nothing.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace sluice {

/// One width of an expert.
struct WidthOption {
  std::uint64_t bytes = 0;
  double error = 0;  // finite; of any unit, as long as those of all experts add up
};

struct WidthPlan {
  std::vector<std::size_t> options;  // [experts]: which one each has
  std::uint64_t bytes = 0;
  double error = 0;
  double least_error = 0;  // of whatever choice of so many bytes, there is none below
};

/// `experts`: the options of each, their bytes rising; at least one. Pure: of equal gains the
/// earlier expert's is first. kInvalidArgument: the narrowest of all take more than `most_bytes`.
Result<WidthPlan> plan_widths(std::span<const std::vector<WidthOption>> experts,
                              std::uint64_t most_bytes);

}  // namespace sluice

// The planner of resting widths against every choice there is, on thousands of small problems.

#include "store/width_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace sluice {
namespace {

using Experts = std::vector<std::vector<WidthOption>>;

/// Errors are whole numbers, so that sums have no rounding. Widths mostly err less when they are
/// wider, and mostly gain less with each bit; not always.
Experts draw(std::mt19937_64& random) {
  const auto any = [&](std::uint64_t least, std::uint64_t most) {
    return least + random() % (most - least + 1);
  };
  Experts experts(any(1, 6));
  const bool alike = any(0, 1) == 0;  // all of the same bytes, as a model's experts are
  const std::uint64_t unit = any(1, 9);
  for (auto& options : experts) {
    const std::uint64_t count = any(1, 4);
    std::uint64_t bytes = alike ? 10 * unit : any(1, 40);
    double error = static_cast<double>(any(0, 1000));
    for (std::uint64_t i = 0; i < count; ++i) {
      options.push_back({bytes, error});
      bytes += alike ? 4 * unit : any(1, 20);
      error = any(0, 7) == 0 ? error + static_cast<double>(any(0, 20))
                             : error / static_cast<double>(any(1, 5));
      error = static_cast<double>(static_cast<std::int64_t>(error));
    }
  }
  return experts;
}

std::uint64_t least_bytes(const Experts& experts) {
  std::uint64_t sum = 0;
  for (const auto& options : experts) sum += options.front().bytes;
  return sum;
}

std::uint64_t most_bytes(const Experts& experts) {
  std::uint64_t sum = 0;
  for (const auto& options : experts) sum += options.back().bytes;
  return sum;
}

/// The least error of so many bytes: tries all.
double exhaustive(const Experts& experts, std::uint64_t bytes, std::size_t expert = 0) {
  if (expert == experts.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const WidthOption& option : experts[expert]) {
    if (option.bytes > bytes) break;
    best = std::min(best, option.error + exhaustive(experts, bytes - option.bytes, expert + 1));
  }
  return best;
}

/// Of any single change of an expert; what the planner may lose.
double greatest_gain(const Experts& experts) {
  double most = 0;
  for (const auto& options : experts) {
    for (const WidthOption& from : options) {
      for (const WidthOption& to : options) {
        if (to.bytes > from.bytes) most = std::max(most, from.error - to.error);
      }
    }
  }
  return most;
}

TEST(WidthPlanner, IsAsGoodAsEveryChoiceAllowsAndNeverOver) {
  std::mt19937_64 random(1);
  double lost = 0, possible = 0;
  int best = 0, problems = 0;
  for (int problem = 0; problem < 4000; ++problem) {
    const Experts experts = draw(random);
    const std::uint64_t least = least_bytes(experts), most = most_bytes(experts);
    const std::uint64_t bytes = least + random() % (most - least + 10);
    const auto plan = plan_widths(experts, bytes);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    std::uint64_t taken = 0;
    double error = 0, widest = 0;
    ASSERT_EQ(plan->options.size(), experts.size());
    for (std::size_t i = 0; i < experts.size(); ++i) {
      ASSERT_LT(plan->options[i], experts[i].size());
      taken += experts[i][plan->options[i]].bytes;
      error += experts[i][plan->options[i]].error;
      widest += experts[i].front().error;
    }
    EXPECT_EQ(taken, plan->bytes);
    EXPECT_EQ(error, plan->error);
    ASSERT_LE(taken, bytes);
    const double right = exhaustive(experts, bytes);
    EXPECT_GE(error, right);
    EXPECT_LE(plan->least_error, right * (1 + 1e-12) + 1e-9);
    EXPECT_LE(error - plan->least_error, greatest_gain(experts) + 1e-9);
    lost += error - right;
    possible += widest - right;
    best += error == right ? 1 : 0;
    ++problems;
  }
  // With a handful of experts the step that does not fit counts as it never does with thousands.
  EXPECT_LT(lost, 0.05 * possible);
  EXPECT_GT(best, problems / 2);
}

TEST(WidthPlanner, MoreBytesNeverErrMore) {
  std::mt19937_64 random(2);
  for (int problem = 0; problem < 500; ++problem) {
    const Experts experts = draw(random);
    double last = std::numeric_limits<double>::infinity();
    for (std::uint64_t bytes = least_bytes(experts); bytes <= most_bytes(experts) + 1; ++bytes) {
      const auto plan = plan_widths(experts, bytes);
      ASSERT_TRUE(plan.ok());
      ASSERT_LE(plan->error, last) << problem << " " << bytes;
      last = plan->error;
    }
    // Where there is room for all, each has the least of its errors.
    double least = 0;
    for (const auto& options : experts) {
      least += std::ranges::min_element(options, {}, &WidthOption::error)->error;
    }
    EXPECT_EQ(last, least);
  }
}

/// Of equal bytes and errors it is the optimum, not only near it: a gap is less than a step.
TEST(WidthPlanner, ManyExpertsComeWithinAStepOfTheBound) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> share(0.1, 1);
  Experts experts(1000);
  for (auto& options : experts) {
    const double taken = share(random);
    double error = taken;
    for (std::uint64_t i = 0; i < 6; ++i, error /= 4) options.push_back({100 + 40 * i, error});
  }
  for (const std::uint64_t bytes : {101'000u, 150'001u, 200'017u, 299'999u}) {
    const auto plan = plan_widths(experts, bytes);
    ASSERT_TRUE(plan.ok());
    EXPECT_LE(plan->bytes, bytes);
    EXPECT_GT(plan->bytes + 40, bytes);
    EXPECT_LT(plan->error, 1.001 * plan->least_error + 1e-3);
    EXPECT_GE(plan->error, plan->least_error);
  }
}

TEST(WidthPlanner, TiesGoToTheEarlier) {
  const Experts experts(4, {{10, 8.0}, {20, 2.0}, {30, 1.0}});
  const auto options = [&](std::uint64_t bytes) { return plan_widths(experts, bytes)->options; };
  EXPECT_EQ(options(40), (std::vector<std::size_t>{0, 0, 0, 0}));
  EXPECT_EQ(options(65), (std::vector<std::size_t>{1, 1, 0, 0}));
  EXPECT_EQ(options(90), (std::vector<std::size_t>{2, 1, 1, 1}));
  EXPECT_EQ(options(500), (std::vector<std::size_t>{2, 2, 2, 2}));
}

TEST(WidthPlanner, TooFewBytesAreRefused) {
  const Experts experts(3, {{10, 8.0}, {20, 2.0}});
  const auto plan = plan_widths(experts, 29);
  ASSERT_EQ(plan.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(plan.status().message().find("take 30 bytes of 29"), std::string::npos);
  EXPECT_TRUE(plan_widths(experts, 30).ok());
  EXPECT_EQ(plan_widths({}, 0)->bytes, 0u);
}

}  // namespace
}  // namespace sluice

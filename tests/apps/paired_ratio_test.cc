// Student's quantiles as they are published, and intervals as numpy and scipy give them.

#include "apps/paired_ratio.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sluice::apps {
namespace {

TEST(PairedRatioTest, QuantilesAreThePublishedOnes) {
  const std::vector<std::pair<std::size_t, double>> table = {
      {1, 12.706}, {2, 4.303},  {3, 3.182},  {4, 2.776},   {5, 2.571},     {6, 2.447},
      {9, 2.262},  {10, 2.228}, {30, 2.042}, {120, 1.980}, {100000, 1.960}};
  for (const auto& [freedom, quantile] : table) {
    EXPECT_NEAR(t_quantile_95(freedom), quantile, 0.0005) << freedom;
  }
}

// Logarithms 0, L and 2 L with L = ln 1.1: mean L, deviation L, so L ± 4.302653 L / √3.
TEST(PairedRatioTest, AnIntervalByHand) {
  const double ratios[] = {1.1 * 1.1, 1.0, 1.1};
  const PairedRatio found = PairedRatio::of(ratios);
  EXPECT_EQ(found.pairs, 3u);
  EXPECT_NEAR(found.mean, 1.1, 1e-12);
  ASSERT_TRUE(found.interval);
  EXPECT_NEAR(found.interval->low, 0.868096, 1e-6);
  EXPECT_NEAR(found.interval->high, 1.393856, 1e-6);
}

// numpy.exp(scipy.stats.t.interval(0.95, 5, x.mean(), scipy.stats.sem(x))) of x = numpy.log(ratios)
TEST(PairedRatioTest, AnIntervalOfScipy) {
  const double ratios[] = {0.93, 1.21, 1.04, 0.99, 1.15, 1.02};
  const PairedRatio found = PairedRatio::of(ratios);
  EXPECT_NEAR(found.mean, 1.0524605134, 1e-9);
  ASSERT_TRUE(found.interval);
  EXPECT_NEAR(found.interval->low, 0.9501499723, 1e-9);
  EXPECT_NEAR(found.interval->high, 1.1657876805, 1e-9);
}

TEST(PairedRatioTest, OnePairHasNoInterval) {
  const double ratio[] = {1.3};
  const PairedRatio found = PairedRatio::of(ratio);
  EXPECT_EQ(found.pairs, 1u);
  EXPECT_NEAR(found.mean, 1.3, 1e-12);
  EXPECT_FALSE(found.interval);
}

}  // namespace
}  // namespace sluice::apps

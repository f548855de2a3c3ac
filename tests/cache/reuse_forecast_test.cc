#include "cache/reuse_forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "cache/online_logistic.h"

namespace sluice {
namespace {

TEST(OnlineLogistic, FindsTheWeightsThatExamplesWereDrawnWith) {
  constexpr std::array<double, 3> kTrue{0.5, -1.5, 2.0};
  OnlineLogistic<3> learner({}, 1);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<double> uniform;
  for (int batch = 0; batch < 400; ++batch) {
    for (int i = 0; i < 50; ++i) {
      const OnlineLogistic<3>::Vector features{1, normal(random), normal(random)};
      const double logit = kTrue[0] + kTrue[1] * features[1] + kTrue[2] * features[2];
      learner.add(features, uniform(random) < 1 / (1 + std::exp(-logit)));
    }
    learner.learn();
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(learner.weight(i), kTrue[i], 0.1) << i;
}

TEST(OnlineLogistic, WhatIsWellKnownMovesSlowly) {
  const auto after = [](double evidence) {
    OnlineLogistic<1> learner({1}, evidence);
    for (int i = 0; i < 10; ++i) learner.add({1}, false);
    learner.learn();
    return learner.weight(0);
  };
  EXPECT_LT(after(1), after(100));
  EXPECT_LT(after(100), 1);
  EXPECT_GT(after(1e6), 0.999);
}

/// Experts that are wanted independently of anything, each in a share of its own of the turns.
TEST(ReuseForecast, IsRightOfWhatHasNothingButAShare) {
  const CacheShape shape({8, 8});
  const std::array<double, 8> shares{0.03, 0.05, 0.08, 0.12, 0.15, 0.2, 0.3, 0.4};
  ReuseForecast forecast(shape);
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform;
  std::vector<double> sums(shape.size());
  constexpr int kSteps = 6000, kCounted = 4000;
  for (int step = 0; step < kSteps; ++step) {
    for (std::uint32_t layer = 0; layer < 2; ++layer) {
      forecast.visit(layer);
      for (std::uint16_t expert = 0; expert < 8; ++expert) {
        if (uniform(random) < shares[expert])
          forecast.touch(layer, shape.index({layer, expert, 0}));
      }
    }
    if (step < kSteps - kCounted) continue;
    for (std::uint32_t i = 0; i < shape.size(); ++i) sums[i] += forecast.rate(i);
  }
  // A turn in four wants it with probability 1 - (1 - p)^4, which rain of that rate does, too.
  for (std::uint32_t i = 0; i < shape.size(); ++i) {
    const double rate = -std::log1p(-shares[i % 8]);
    EXPECT_NEAR(sums[i] / kCounted, rate, 0.5 * rate) << i;
    if (i % 8 > 0) {
      EXPECT_GT(sums[i], sums[i - 1]) << i;
    }
  }
}

/// Every expert of a layer is wanted in every third turn: what matters is when it was last.
TEST(ReuseForecast, LearnsWhatTheStartDidNotKnow) {
  const CacheShape shape({30});
  ReuseForecast forecast(shape);
  std::uint32_t turn = 0;
  const auto visit = [&] {
    forecast.visit(0);
    for (std::uint32_t i = 0; i < 3; ++i) forecast.touch(0, (3 * turn + i) % 30);
    turn += 1;
  };
  // A cycle of ten turns: what was wanted last comes last.
  const auto newest_over_oldest = [&] {
    return forecast.rate((3 * (turn - 1)) % 30) / forecast.rate((3 * turn) % 30);
  };
  for (int i = 0; i < 20; ++i) visit();
  const float before = newest_over_oldest();
  for (int i = 0; i < 2000; ++i) visit();
  EXPECT_LT(newest_over_oldest(), before);
  EXPECT_LT(newest_over_oldest(), 0.2f);
}

}  // namespace
}  // namespace sluice

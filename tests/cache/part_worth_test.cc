#include "cache/part_worth.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/decayed_frequency.h"

namespace sluice {
namespace {

constexpr std::uint32_t kParts = 3;

bool any(CacheKey) { return true; }

/// One turn of a layer that wants the first `parts` of one expert.
template <typename Policy>
void want(Policy& policy, std::uint32_t layer, std::uint16_t expert, std::uint32_t parts) {
  policy.visit(layer);
  for (std::uint16_t part = 0; part < parts; ++part) policy.touch({layer, expert, part}, 1);
}

/// Each expert's parts are wanted as often as was drawn for it; the first ones are worth what the
/// model says of whole experts that are wanted at the same time.
TEST(PartWorth, IsTheExpertsTimesHowOftenThePartIsWanted) {
  const CacheShape shape({6, 4}, kParts), whole = shape.whole_experts();
  PartWorth parts(shape, std::make_unique<DecayedFrequency>(whole));
  DecayedFrequency experts(whole);
  std::mt19937 random(7);
  std::uniform_real_distribution<double> draw(0, 1);
  std::vector<double> second(whole.size()), third(whole.size());
  for (std::uint32_t i = 0; i < whole.size(); ++i) {
    second[i] = draw(random);
    third[i] = second[i] * draw(random);
  }
  // Shares are what was counted of late: their means over the run are compared.
  std::vector<double> second_means(whole.size()), third_means(whole.size());
  constexpr int kSteps = 20000;  // half of them are a layer's
  for (int step = 0; step < kSteps; ++step) {
    const std::uint32_t layer = step % shape.layers();
    parts.visit(layer);
    experts.visit(layer);
    const std::uint32_t expert =
        whole.first(layer) + static_cast<std::uint32_t>(random() % whole.experts(layer));
    experts.touch(layer, expert, 1);
    const double luck = draw(random);
    const std::uint32_t wanted = luck < third[expert] ? 3 : luck < second[expert] ? 2 : 1;
    for (std::uint32_t part = 0; part < wanted; ++part) {
      parts.touch(layer, expert * kParts + part, 1);
    }
    for (std::uint32_t i = whole.first(layer); i < whole.first(layer + 1); ++i) {
      const float of_expert = experts.worth(layer, i);
      float last = 1;
      for (std::uint32_t part = 0; part < kParts; ++part) {
        const float share = parts.share(layer, i * kParts + part);
        ASSERT_EQ(parts.worth(layer, i * kParts + part), of_expert * share);
        ASSERT_GT(share, 0);
        ASSERT_LE(share, last);
        last = share;
      }
      second_means[i] += parts.share(layer, i * kParts + 1) / (kSteps / 2.0);
      third_means[i] += parts.share(layer, i * kParts + 2) / (kSteps / 2.0);
    }
  }
  for (std::uint32_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(second_means[i], second[i], 0.06) << i;
    EXPECT_NEAR(third_means[i], third[i], 0.06) << i;
  }
}

/// An expert that is wanted often, but seldom whole, beside one that is wanted now and then.
TEST(PartWorth, WhatIsSeldomWantedOfAFavouriteGoesBeforeAnotherExpertsFirstPart) {
  for (const char* const name : {"auto", "learned", "lfu", "mixed"}) {
    const CacheShape shape({2, 2}, kParts);
    const auto policy = std::move(make_cache_policy(name, shape)).value();
    for (std::uint16_t part = 0; part < kParts; ++part) policy->admit({1, 0, part}, 1);
    policy->admit({1, 1, 0}, 1);
    std::mt19937 random(3);  // or "learned" would know what comes next
    for (int turn = 0; turn < 200; ++turn) {
      want(*policy, 0, 0, 1);
      if (turn < 190 && random() % 8 == 0) {
        want(*policy, 1, 1, 1);
      } else {
        // The third part never, the second every other time.
        want(*policy, 1, 0, 1 + static_cast<std::uint32_t>(random() % 2));
      }
    }
    want(*policy, 0, 0, 1);
    EXPECT_EQ(*policy->victim(any), (CacheKey{1, 0, 2})) << name;
    // The expert is expected, but not that part of it.
    policy->expect({1, 0, 0}, 0.9f);
    EXPECT_EQ(*policy->victim(any), (CacheKey{1, 0, 2})) << name;
    policy->forget({1, 0, 2});
    const auto not_first = [](CacheKey key) { return key.plane_group > 0 || key.expert > 0; };
    policy->expect({1, 0, 0}, 0.99f);
    EXPECT_EQ(*policy->victim(not_first), (CacheKey{1, 1, 0})) << name;
  }
}

}  // namespace
}  // namespace sluice

#include "cache/quota_policy.h"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <random>

#include "cache/adap_moe.h"
#include "cache/fate.h"
#include "cache/trace_replay.h"
#include "tests/cache/drawn_trace.h"

namespace sluice {
namespace {

/// Drives a policy as a cache of `slots` keys; says how many of each layer are resident.
std::vector<std::uint32_t> residents_after(CachePolicy& policy, const CacheShape& shape,
                                           const RoutingTrace& trace, std::size_t slots) {
  std::set<std::uint32_t> resident;
  for (const RoutingEvent& event : trace.events) {
    policy.visit(event.layer);
    for (const RoutedExpert& routed : trace.wanted(event)) {
      const CacheKey key{event.layer, routed.expert, 0};
      policy.touch(key, 1);
      if (resident.contains(shape.index(key))) continue;
      if (resident.size() == slots) {
        const auto victim = policy.victim([](CacheKey) { return true; });
        EXPECT_EQ(resident.erase(shape.index(*victim)), 1u);
        policy.forget(*victim);
      }
      resident.insert(shape.index(key));
      policy.admit(key, 1);
    }
  }
  std::vector<std::uint32_t> counts(shape.layers());
  for (const std::uint32_t index : resident) counts[shape.key(index).layer] += 1;
  return counts;
}

RoutingTrace uniform_trace(std::uint32_t layers, std::uint32_t experts, int steps) {
  RoutingTrace trace = test::empty_trace(layers, experts);
  std::mt19937 random(5);
  for (int step = 0; step < steps; ++step) {
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      const std::array wanted{static_cast<std::uint16_t>(random() % experts)};
      test::append(trace, layer, true, wanted);
    }
  }
  return trace;
}

TEST(Fate, ShallowLayersHaveLargerShares) {
  const CacheShape shape({64, 64, 64, 64});
  Fate policy(shape);
  const auto counts = residents_after(policy, shape, uniform_trace(4, 64, 2000), 90);
  // Shares of 8, 7, 6 and 5 of 26.
  const std::vector<std::uint32_t> shares{28, 24, 21, 17};
  for (std::size_t layer = 0; layer < 4; ++layer) {
    EXPECT_NEAR(counts[layer], shares[layer], 1) << layer;
  }
}

TEST(Fate, WhatAShallowLayerCannotUseGoesToDeeperOnes) {
  const CacheShape shape({8, 8, 8, 8});
  Fate policy(shape);
  EXPECT_EQ(residents_after(policy, shape, uniform_trace(4, 8, 2000), 30),
            (std::vector<std::uint32_t>{8, 8, 8, 6}));
}

TEST(AdapMoe, NoAllocationIsBetter) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<float>> gains(1 + random() % 4);
    for (auto& gain : gains) {
      gain.push_back(0);
      for (std::size_t most = random() % 5; gain.size() <= most;) {
        gain.push_back(gain.back() + static_cast<float>(random() % 100));
      }
    }
    const auto units = static_cast<std::uint32_t>(random() % 10);
    const std::function<float(std::size_t, std::uint32_t)> best = [&](std::size_t layer,
                                                                      std::uint32_t left) {
      float most = 0;
      if (layer == gains.size()) return most;
      for (std::uint32_t own = 0; own < gains[layer].size() && own <= left; ++own) {
        most = std::max(most, gains[layer][own] + best(layer + 1, left - own));
      }
      return most;
    };
    const std::vector<std::uint32_t> allocation = allocate_best(gains, units);
    float sum = 0;
    for (std::size_t layer = 0; layer < gains.size(); ++layer) {
      sum += gains[layer].at(allocation[layer]);
    }
    EXPECT_LE(std::accumulate(allocation.begin(), allocation.end(), 0u), units);
    EXPECT_EQ(sum, best(0, units));
  }
}

/// One layer goes round twelve experts, one has two, and of the third nothing is worth keeping.
TEST(AdapMoe, SlotsGoWhereTheyHit) {
  RoutingTrace trace = test::empty_trace(3, 64);
  std::mt19937 random(6);
  for (int step = 0; step < 600; ++step) {
    const std::array round{static_cast<std::uint16_t>(step % 12)};
    const std::array few{static_cast<std::uint16_t>(step % 2)};
    const std::array any{static_cast<std::uint16_t>(random() % 64)};
    test::append(trace, 0, true, round);
    test::append(trace, 1, true, few);
    test::append(trace, 2, true, any);
  }
  const auto rate = [&](std::string_view name) {
    return replay(trace, std::move(make_cache_policy(name, CacheShape(trace.experts))).value(),
                  {.capacity = 17 * 4096, .count_from = 900})
        .hit_rate();
  };
  EXPECT_GT(rate("adapmoe"), 2.0 / 3);
  EXPECT_LT(rate("lru"), 0.45);
}

}  // namespace
}  // namespace sluice

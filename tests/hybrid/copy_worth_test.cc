// What is expected of experts against what became of them, and when a copy pays.

#include "hybrid/copy_worth.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/hybrid/drawn_layers.h"

namespace sluice {
namespace {

constexpr std::uint32_t kExperts = 40;
constexpr double kStays = 1 - 1.0 / 32;  // of an expert, from turn to turn

HybridCosts costs(double staging_byte) {
  HybridCosts costs;
  std::array<double, CostCurve::kKnots> knots;
  knots.fill(1e-9);
  costs.cpu = CostCurve(knots);
  costs.gpu = CostCurve(knots);
  costs.gpu.scale(0.1);
  costs.upload_byte = 1e-10;
  costs.staging_byte = staging_byte;
  return costs;
}

/// A layer of which the CPU computes what the GPU does not have.
struct Layer {
  std::vector<std::uint32_t> experts;
  std::vector<ExpertWork> work;
  LayerPlan plan;
  void add(std::uint32_t expert, bool on_gpu) {
    experts.push_back(expert);
    work.push_back({.rows = 1, .bytes = 1'000'000, .on_gpu_at = on_gpu ? 0 : kNever});
    plan.gpu_rows.push_back(on_gpu ? 1 : 0);
  }
};

/// A third are wanted often, the others seldom, and some change sides now and then.
TEST(CopyWorth, ExpectsOfExpertsWhatBecomesOfThem) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    test::Random random(seed);
    const CacheShape shape({kExperts});
    CopyWorth worth(shape);
    std::vector<double> share(kExperts);
    for (double& one : share) one = test::log_between(random, 0.005, 0.9);
    constexpr std::size_t kTurns = 6000;
    std::vector<std::array<bool, kExperts>> wanted(kTurns);
    std::vector<std::array<double, kExperts>> expected(kTurns);
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      if (random() % 8 == 0) share[random() % kExperts] = test::log_between(random, 0.005, 0.9);
      std::vector<std::uint32_t> experts;
      for (std::uint32_t i = 0; i < kExperts; ++i) {
        wanted[turn][i] = test::between(random, 0, 1) < share[i];
        if (wanted[turn][i]) experts.push_back(i);
      }
      worth.visit(0, experts);
      for (std::uint16_t i = 0; i < kExperts; ++i) expected[turn][i] = worth.uses({0, i});
    }
    // Backwards, so that each turn knows what came behind it.
    std::array<double, kExperts> came{};
    double low = 0, low_came = 0, high = 0, high_came = 0;
    for (std::size_t turn = kTurns - 1; turn > kTurns / 4; --turn) {
      if (turn < kTurns - 300) {
        for (std::size_t i = 0; i < kExperts; ++i) {
          const bool much = expected[turn][i] > 8;
          (much ? high : low) += expected[turn][i];
          (much ? high_came : low_came) += came[i];
        }
      }
      for (std::size_t i = 0; i < kExperts; ++i) {
        came[i] = kStays * ((wanted[turn][i] ? 1 : 0) + came[i]);
      }
    }
    EXPECT_NEAR(low / low_came, 1, 0.15) << "seed " << seed;
    EXPECT_NEAR(high / high_came, 1, 0.15) << "seed " << seed;
  }
}

TEST(CopyWorth, TheCandidateIsWhatTheCpuComputesAloneAndIsWantedMost) {
  const CacheShape shape({kExperts, kExperts});
  CopyWorth worth(shape);
  for (std::uint32_t turn = 0; turn < 40; ++turn) {
    const std::vector<std::uint32_t> experts =
        turn % 4 == 0 ? std::vector<std::uint32_t>{3, 5, 7} : std::vector<std::uint32_t>{3, 7};
    worth.visit(0, {});
    worth.visit(1, experts);
  }
  Layer layer;
  layer.add(5, false);
  layer.add(3, false);
  layer.add(7, true);
  worth.visit(1, layer.experts);
  EXPECT_EQ(worth.candidate(layer.experts, layer.work, layer.plan, costs(0)), 1u);
  layer.plan.gpu_rows[1] = 1;  // copied
  layer.plan.uploads = {1};
  EXPECT_EQ(worth.candidate(layer.experts, layer.work, layer.plan, costs(0)), 0u);
  layer.work[0].on_gpu_at = 1e-3;  // comes, and the CPU does not wait for it
  EXPECT_EQ(worth.candidate(layer.experts, layer.work, layer.plan, costs(0)), std::nullopt);
}

TEST(CopyWorth, CopiesPayAsLongAsTheirUsesDo) {
  const CacheShape shape({kExperts});
  CopyWorth worth(shape);
  const CacheKey hot{0, 1}, cold{0, 2};
  Layer layer;
  layer.add(hot.expert, false);
  layer.add(9, false);
  const auto turns = [&](int count) {
    for (int i = 0; i < count; ++i) {
      worth.visit(0, layer.experts);
      (void)worth.candidate(layer.experts, layer.work, layer.plan, costs(0));
    }
  };
  turns(300);
  const std::uint64_t bytes = 1'000'000;
  // Each use saves 0.9 ns of each byte: it is worth some 20 times that.
  EXPECT_TRUE(worth.pays(hot, std::nullopt, bytes, costs(0)));
  EXPECT_TRUE(worth.pays(hot, cold, bytes, costs(3e-9)));
  EXPECT_FALSE(worth.pays(hot, cold, bytes, costs(60e-9)));
  EXPECT_FALSE(worth.pays(cold, hot, bytes, costs(0)));
  EXPECT_FALSE(worth.pays(hot, CacheKey{0, 9}, bytes, costs(3e-9))) << "for one wanted as often";
  // It is wanted no more, and then it is again.
  layer.experts[0] = 20;
  turns(200);
  EXPECT_FALSE(worth.pays(hot, std::nullopt, bytes, costs(3e-9)));
  layer.experts[0] = hot.expert;
  turns(200);
  EXPECT_TRUE(worth.pays(hot, cold, bytes, costs(3e-9)));
}

TEST(CopyWorth, WhatTheLayerDoesNotWaitForCostsNothing) {
  const CacheShape shape({kExperts});
  CopyWorth worth(shape);
  Layer layer;  // the GPU takes 1.2 ms, the CPU 1
  layer.add(1, false);
  for (std::uint32_t i = 2; i < 14; ++i) layer.add(i, true);
  for (int i = 0; i < 100; ++i) {
    worth.visit(0, layer.experts);
    (void)worth.candidate(layer.experts, layer.work, layer.plan, costs(0));
  }
  // One more would make the GPU slower still: nothing is saved.
  EXPECT_FALSE(worth.pays({0, 1}, std::nullopt, 1'000'000, costs(0)));
}

}  // namespace
}  // namespace sluice

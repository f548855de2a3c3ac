// Plans against exhaustive search, against a bound that no plan can beat, and as functions of what
// they are given.

#include "hybrid/hybrid_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/hybrid/drawn_layers.h"

namespace sluice {
namespace {

/// The least that any plan without split experts takes: every device for every expert and every
/// order of copies, or that in which the host gets them.
double exhaustive(const std::vector<ExpertWork>& work, const HybridCosts& costs,
                  std::size_t most_uploads, bool every_order) {
  LayerClock clock;
  double best = kNever;
  std::vector<std::uint32_t> rows(work.size()), uploads;
  for (std::uint32_t set = 0; set < 1u << work.size(); ++set) {
    uploads.clear();
    for (std::uint32_t i = 0; i < work.size(); ++i) {
      rows[i] = (set >> i & 1u) != 0 ? work[i].rows : 0;
      if (rows[i] > 0 && !work[i].on_gpu()) uploads.push_back(i);
    }
    if (uploads.size() > most_uploads) continue;
    if (!every_order) {
      std::ranges::stable_sort(uploads, {}, [&](std::uint32_t i) { return work[i].in_ram_at; });
    }
    do {
      best = std::min(best, clock.follow(work, costs, rows, uploads).all());
    } while (every_order && std::ranges::next_permutation(uploads).found);
  }
  return best;
}

TEST(HybridScheduler, IsWithinFivePercentOfExhaustiveSearch) {
  test::Random random(7);
  HybridScheduler scheduler;
  double worst = 0;
  int trials = 0, split = 0;
  const auto compare = [&](std::size_t experts, bool every_order, bool staged = false) {
    const HybridCosts costs = test::drawn_costs(random, staged);
    const std::vector<ExpertWork> work = test::drawn_layer(random, experts, true);
    HybridAims aims;
    if (random() % 3 == 0) aims.most_uploads = random() % (experts + 1);
    const double best = exhaustive(work, costs, aims.most_uploads, every_order);
    const double divided = scheduler.plan(work, costs, aims).seconds;
    aims.splits = false;
    const double whole = scheduler.plan(work, costs, aims).seconds;
    trials += 1;
    ASSERT_LE(whole, 1.05 * best) << "trial " << trials;
    if (every_order) {
      ASSERT_GE(whole, best * (1 - 1e-9)) << "trial " << trials;
    }
    ASSERT_LE(divided, whole * (1 + 1e-9)) << "trial " << trials;
    split += divided < 0.99 * whole;
    worst = std::max(worst, whole / best);
  };
  while (trials < 6000 && !HasFatalFailure()) compare(1 + random() % 5, true);
  while (trials < 9500 && !HasFatalFailure()) compare(6 + random() % 3, false);
  while (trials < 10000 && !HasFatalFailure()) compare(9 + random() % 4, false);
  while (trials < 12000 && !HasFatalFailure()) compare(1 + random() % 5, true, /*staged=*/true);
  EXPECT_GT(split, 50);
  RecordProperty("worst", std::to_string(worst));
}

/// Where experts are alike, a plan is a number of copies and one of experts that the GPU has and
/// the CPU computes all the same.
TEST(HybridScheduler, IsWithinFivePercentOfTheBestOfManyAlike) {
  test::Random random(5);
  HybridScheduler scheduler;
  LayerClock clock;
  for (int trial = 0; trial < 200; ++trial) {
    const HybridCosts costs = test::drawn_costs(random, trial % 2 == 0);
    const std::size_t experts = 20 + random() % 109, resident = random() % (experts + 1);
    const auto rows = static_cast<std::uint32_t>(test::log_between(random, 1, 300));
    std::vector<ExpertWork> work(experts, {.rows = rows, .bytes = 3'000'000});
    for (std::size_t i = 0; i < resident; ++i) work[i].on_gpu_at = 0;
    double best = kNever;
    for (std::size_t kept = 0; kept <= resident; ++kept) {
      for (std::size_t copied = 0; copied <= experts - resident; ++copied) {
        std::vector<std::uint32_t> gpu_rows(experts), uploads(copied);
        std::fill_n(gpu_rows.begin(), kept, rows);
        std::fill_n(gpu_rows.begin() + static_cast<std::ptrdiff_t>(resident), copied, rows);
        std::iota(uploads.begin(), uploads.end(), static_cast<std::uint32_t>(resident));
        best = std::min(best, clock.follow(work, costs, gpu_rows, uploads).all());
      }
    }
    ASSERT_LE(scheduler.plan(work, costs, {}).seconds, 1.05 * best) << "trial " << trial;
  }
}

/// A bound from below, of layers all of whose experts are there from the start on: for any three
/// weights that add up to 1, no plan ends before the weighted sum of what the CPU, the link and the
/// GPU have to do, each expert in the way that is best for that sum (Lagrange's relaxation). What
/// takes the CPU C alone and the link L ends at the latter of C + L (1 - a) / b and L + C (1 - b) /
/// a, if both work at once for as long as they can; a + b is at least 1 here.
double bound(const std::vector<ExpertWork>& work, const HybridCosts& costs) {
  const double a = costs.cpu_beside_upload, b = costs.upload_beside_cpu;
  double best = 0;
  constexpr int kSteps = 40;
  for (int i = 0; i <= kSteps; ++i) {
    for (int j = 0; i + j <= kSteps; ++j) {
      const double cpu = double{1} * i / kSteps, link = double{1} * j / kSteps;
      const double of_cpu = cpu + link * (1 - b) / a, of_link = link + cpu * (1 - a) / b;
      double sum = 0;
      for (const ExpertWork& expert : work) {
        double least = kNever;
        for (std::uint32_t rows = 0; rows <= expert.rows; ++rows) {
          if (rows < expert.rows && expert.in_ram_at == kNever) continue;
          const bool copied = rows > 0 && !expert.on_gpu();
          const double copy = copied ? costs.upload_seconds(expert.bytes) : 0;
          const double staged = copied ? costs.staging_seconds(expert.bytes) : 0;
          const double computed = costs.cpu.seconds(expert.bytes, expert.rows - rows);
          least = std::min(least, of_cpu * (computed + staged) + of_link * copy +
                                      (1 - cpu - link) * costs.gpu.seconds(expert.bytes, rows));
        }
        sum += least;
      }
      best = std::max(best, sum);
    }
  }
  return best;
}

TEST(HybridScheduler, IsWithinFivePercentOfWhatNoPlanCanBeat) {
  test::Random random(11);
  HybridScheduler scheduler;
  double worst = 0;
  for (int trial = 0; trial < 60; ++trial) {
    const HybridCosts costs = test::drawn_costs(random, trial % 2 == 0);
    const std::vector<ExpertWork> work = test::drawn_layer(random, 48 + random() % 81, false);
    const double found = scheduler.plan(work, costs, {}).seconds, least = bound(work, costs);
    // The bound copies half experts, too, starts the devices for nothing, and has the GPU compute
    // the last expert while it is copied.
    std::uint64_t bytes = 0;
    for (const ExpertWork& expert : work) bytes = std::max(bytes, expert.bytes);
    const double ends = costs.cpu_start + costs.gpu_start + costs.staging_seconds(bytes) +
                        costs.upload_seconds(bytes) + costs.gpu.seconds(bytes, 1);
    ASSERT_LE(found, 1.05 * least + ends) << "trial " << trial;
    ASSERT_GE(found, least * (1 - 1e-9)) << "trial " << trial;
    worst = std::max(worst, found / least);
  }
  RecordProperty("worst", std::to_string(worst));
}

TEST(HybridScheduler, MovesAreNoMoreThanThereIsRoomFor) {
  test::Random random(13);
  HybridScheduler scheduler;
  for (int trial = 0; trial < 300; ++trial) {
    const HybridCosts costs = test::drawn_costs(random);
    const std::vector<ExpertWork> work = test::drawn_layer(random, 1 + random() % 40, true);
    const HybridAims aims{.most_uploads = random() % 4};
    const LayerPlan plan = scheduler.plan(work, costs, aims);
    EXPECT_LE(plan.uploads.size(), aims.most_uploads);
    std::vector<bool> copied(work.size());
    for (const std::uint32_t i : plan.uploads) copied[i] = true;
    for (std::size_t i = 0; i < work.size(); ++i) {
      EXPECT_LE(plan.gpu_rows[i], work[i].rows);
      EXPECT_EQ(copied[i], plan.gpu_rows[i] > 0 && !work[i].on_gpu());
    }
    LayerClock clock;
    EXPECT_EQ(clock.follow(work, costs, plan.gpu_rows, plan.uploads).all(), plan.seconds);
    EXPECT_EQ(scheduler.plan(work, costs, aims).gpu_rows, plan.gpu_rows) << "a pure function";
  }
}

TEST(HybridScheduler, FewRowsGoToTheWeightsAndManyAreWorthACopy) {
  HybridCosts costs;
  costs.cpu = CostCurve::roofline(60e9, 5e11, 2);
  costs.gpu = CostCurve::roofline(800e9, 5e13, 2);
  costs.upload_byte = 1 / 20e9;
  HybridScheduler scheduler;
  std::vector<ExpertWork> work(1, {.rows = 1, .bytes = 3'000'000});
  EXPECT_EQ(scheduler.plan(work, costs, {}).gpu_rows[0], 0u);
  work[0].rows = 512;
  EXPECT_GT(scheduler.plan(work, costs, {}).gpu_rows[0], 256u);
  work[0].on_gpu_at = 0;
  work[0].rows = 1;
  EXPECT_EQ(scheduler.plan(work, costs, {}).gpu_rows[0], 1u);
}

TEST(HybridScheduler, WhatIsNowhereNeverEnds) {
  HybridScheduler scheduler;
  const std::vector<ExpertWork> work(1, {.rows = 1, .bytes = 1000, .in_ram_at = kNever});
  EXPECT_EQ(scheduler.plan(work, {}, {}).seconds, kNever);
  EXPECT_EQ(scheduler.plan({}, {}, {}).seconds, 0);
}

/// What waits longest for the CPU is worth most on the GPU.
TEST(HybridScheduler, AnExpertOfManyRowsIsWorthMoreOnTheGpuThanOneOfFew) {
  HybridCosts costs;
  costs.cpu = CostCurve::roofline(60e9, 1e11, 2);
  costs.gpu = CostCurve::roofline(800e9, 5e13, 2);
  costs.upload_byte = 1 / 4e9;
  HybridScheduler scheduler;
  std::vector<ExpertWork> work(8, {.rows = 8, .bytes = 3'000'000});
  work[3].rows = 1;
  const HybridAims whole{.splits = false};
  EXPECT_GT(scheduler.worth_on_gpu(work, costs, whole, 2),
            scheduler.worth_on_gpu(work, costs, whole, 3));
  EXPECT_GE(scheduler.worth_on_gpu(work, costs, whole, 3), 0);
}

}  // namespace
}  // namespace sluice

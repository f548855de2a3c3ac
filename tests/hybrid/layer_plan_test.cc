// LayerClock against sums by hand, and against small steps of time.

#include "hybrid/layer_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/hybrid/drawn_layers.h"

namespace sluice {
namespace {

/// A second for every byte, whatever the rows.
CostCurve seconds_a_byte(double seconds) {
  std::array<double, CostCurve::kKnots> knots;
  knots.fill(seconds);
  return CostCurve(knots);
}

HybridCosts simple() {
  HybridCosts costs;
  costs.cpu = seconds_a_byte(1);
  costs.gpu = seconds_a_byte(0.25);
  costs.upload_byte = 0.5;
  return costs;
}

TEST(LayerClock, TheCpuTheLinkAndTheGpuWorkAtOnce) {
  // Two on the CPU, one on the GPU, one copied.
  const std::vector<ExpertWork> work = {{.rows = 1, .bytes = 4},
                                        {.rows = 1, .bytes = 2},
                                        {.rows = 1, .bytes = 8, .on_gpu_at = 0},
                                        {.rows = 1, .bytes = 8}};
  const std::vector<std::uint32_t> rows = {0, 0, 1, 1}, uploads = {3};
  LayerClock clock;
  LayerTimes times = clock.follow(work, simple(), rows, uploads);
  EXPECT_DOUBLE_EQ(times.cpu, 6);
  EXPECT_DOUBLE_EQ(times.link, 4);
  EXPECT_DOUBLE_EQ(times.gpu, 6);  // 2, then waits until 4, then 2

  // While the link is at work, the CPU does half as much, and the link three quarters: it copies
  // for 16 / 3, when the CPU has done 8 / 3 of 6.
  HybridCosts shared = simple();
  shared.cpu_beside_upload = 0.5;
  shared.upload_beside_cpu = 0.75;
  times = clock.follow(work, shared, rows, uploads);
  EXPECT_DOUBLE_EQ(times.link, 16.0 / 3);
  EXPECT_DOUBLE_EQ(times.cpu, 16.0 / 3 + 6 - 8.0 / 3);
  EXPECT_DOUBLE_EQ(times.gpu, 16.0 / 3 + 2);

  shared.cpu_start = 1;
  shared.gpu_start = 0.5;
  times = clock.follow(work, shared, rows, uploads);
  EXPECT_DOUBLE_EQ(times.cpu, 16.0 / 3 + 7 - 8.0 / 3);
  EXPECT_DOUBLE_EQ(times.gpu, 16.0 / 3 + 2.5);
}

TEST(LayerClock, TheCpuStagesFirstWhatTheLinkCopies) {
  const std::vector<ExpertWork> work = {{.rows = 1, .bytes = 4},
                                        {.rows = 1, .bytes = 8, .on_gpu_at = 0},
                                        {.rows = 1, .bytes = 8},
                                        {.rows = 1, .bytes = 4}};
  HybridCosts costs = simple();
  costs.staging_byte = 0.25;
  LayerClock clock;
  const LayerTimes times = clock.follow(work, costs, std::vector<std::uint32_t>{0, 1, 1, 1},
                                        std::vector<std::uint32_t>{2, 3});
  EXPECT_DOUBLE_EQ(times.cpu, 2 + 1 + 4);
  EXPECT_DOUBLE_EQ(times.link, 2 + 4 + 2);
  EXPECT_DOUBLE_EQ(times.gpu, 9);  // 2, waits until 6, 2 more, and 1
  EXPECT_DOUBLE_EQ(times.staging, 3);
  EXPECT_DOUBLE_EQ(times.copying, 6);
}

TEST(LayerClock, CopiesWaitForTheOneFromBefore) {
  const std::vector<ExpertWork> work = {{.rows = 1, .bytes = 4}, {.rows = 1, .bytes = 8}};
  HybridCosts costs = simple();
  LayerClock clock;
  const std::vector<std::uint32_t> rows = {0, 1}, uploads = {1};
  LayerTimes times = clock.follow(work, costs, rows, uploads, /*link_taken=*/3);
  EXPECT_DOUBLE_EQ(times.earlier, 3);
  EXPECT_DOUBLE_EQ(times.link, 3 + 4);
  EXPECT_DOUBLE_EQ(times.copying, 4);
  EXPECT_DOUBLE_EQ(times.gpu, 7 + 2);
  EXPECT_DOUBLE_EQ(times.cpu, 4);

  // It slows the CPU down, and the CPU slows it: its 3 take 4, in which the CPU does 2 of its 4.
  costs.cpu_beside_upload = 0.5;
  costs.upload_beside_cpu = 0.75;
  times = clock.follow(work, costs, std::vector<std::uint32_t>{0, 0}, {}, /*link_taken=*/3);
  EXPECT_DOUBLE_EQ(times.earlier, 4);
  EXPECT_DOUBLE_EQ(times.cpu, 4 + 10);
  EXPECT_DOUBLE_EQ(times.link, 0);
}

TEST(LayerClock, WhatIsNotThereIsWaitedFor) {
  const std::vector<ExpertWork> work = {
      {.rows = 1, .bytes = 1, .in_ram_at = 10},
      {.rows = 1, .bytes = 3, .in_ram_at = 2},
      {.rows = 1, .bytes = 4, .in_ram_at = kNever, .on_gpu_at = 7}};
  LayerClock clock;
  const LayerTimes times = clock.follow(work, simple(), std::vector<std::uint32_t>{0, 0, 1}, {});
  EXPECT_DOUBLE_EQ(times.cpu, 11);
  EXPECT_DOUBLE_EQ(times.gpu, 8);
  EXPECT_EQ(clock.follow(work, simple(), std::vector<std::uint32_t>{0, 0, 0}, {}).all(), kNever);
}

/// The same machine in steps of time, in which nothing is solved for.
LayerTimes step_by_step(const std::vector<ExpertWork>& work, const HybridCosts& costs,
                        const std::vector<std::uint32_t>& gpu_rows,
                        const std::vector<std::uint32_t>& uploads, double step) {
  LayerTimes times;
  std::vector<double> cpu_left, arrived(work.size(), kNever), gpu_left;
  std::vector<std::uint32_t> order(work.size());
  for (std::uint32_t i = 0; i < work.size(); ++i) {
    order[i] = i;
    cpu_left.push_back(costs.cpu.seconds(work[i].bytes, work[i].rows - gpu_rows[i]));
    gpu_left.push_back(costs.gpu.seconds(work[i].bytes, gpu_rows[i]));
    if (work[i].on_gpu()) arrived[i] = work[i].on_gpu_at;
  }
  std::ranges::stable_sort(order, {}, [&](std::uint32_t i) { return work[i].in_ram_at; });
  std::vector<double> staging_left;  // [uploads]
  for (const std::uint32_t i : uploads) {
    staging_left.push_back(costs.staging_byte * static_cast<double>(work[i].bytes));
  }
  double start = 0;
  for (const double left : cpu_left) start = left > 0 ? costs.cpu_start : start;
  for (const double left : staging_left) start = left > 0 ? costs.cpu_start : start;
  std::size_t copied = 0;
  double copy_left = uploads.empty() ? 0 : costs.upload_seconds(work[uploads[0]].bytes);
  for (double now = 0; now < 1e9 * step; now += step) {
    const bool link = copied < uploads.size() && work[uploads[copied]].in_ram_at <= now &&
                      staging_left[copied] <= 0;
    const auto next = std::ranges::find_if(
        order, [&](std::uint32_t i) { return cpu_left[i] > 0 && work[i].in_ram_at <= now; });
    // In the order in which experts come; of those that come at once, staging first.
    std::size_t stage = uploads.size();
    for (std::size_t k = uploads.size(); k-- > 0;) {
      if (staging_left[k] <= 0 || work[uploads[k]].in_ram_at > now) continue;
      if (stage == uploads.size() || work[uploads[k]].in_ram_at <= work[uploads[stage]].in_ram_at) {
        stage = k;
      }
    }
    const bool stages =
        stage < uploads.size() &&
        (next == order.end() || work[uploads[stage]].in_ram_at <= work[*next].in_ram_at);
    const bool cpu = start > 0 || stages || next != order.end();
    if (cpu) {
      double& left = start > 0 ? start : stages ? staging_left[stage] : cpu_left[*next];
      left -= step * (link ? costs.cpu_beside_upload : 1);
      times.cpu = now + step;
    }
    if (link) {
      copy_left -= step * (cpu ? costs.upload_beside_cpu : 1);
      times.link = now + step;
      if (copy_left <= 0) {
        arrived[uploads[copied++]] = now + step;
        if (copied < uploads.size()) copy_left = costs.upload_seconds(work[uploads[copied]].bytes);
      }
    }
    for (std::size_t i = 0; i < work.size(); ++i) {
      if (gpu_left[i] <= 0 || arrived[i] > now) continue;
      gpu_left[i] -= step;
      times.gpu = now + step;
      break;
    }
    const bool left = copied < uploads.size() ||
                      std::ranges::any_of(cpu_left, [](double x) { return x > 0; }) ||
                      std::ranges::any_of(gpu_left, [](double x) { return x > 0; });
    if (!left) break;
  }
  if (times.gpu > 0) times.gpu += costs.gpu_start;
  return times;
}

TEST(LayerClock, IsWhatSmallStepsOfTimeComeTo) {
  test::Random random(3);
  LayerClock clock;
  for (int trial = 0; trial < 200; ++trial) {
    const HybridCosts costs = test::drawn_costs(random, trial % 2 == 0);
    std::vector<ExpertWork> work = test::drawn_layer(random, 1 + random() % 6, true);
    std::vector<std::uint32_t> rows, uploads;
    for (std::uint32_t i = 0; i < work.size(); ++i) {
      if (work[i].in_ram_at == kNever) work[i].in_ram_at = 1e-3;
      rows.push_back(static_cast<std::uint32_t>(random() % (work[i].rows + 1)));
      if (rows.back() > 0 && !work[i].on_gpu()) uploads.push_back(i);
    }
    const LayerTimes times = clock.follow(work, costs, rows, uploads);
    const double step = times.all() / 20000;
    const LayerTimes stepped = step_by_step(work, costs, rows, uploads, step);
    EXPECT_NEAR(times.cpu, stepped.cpu, 40 * step) << "trial " << trial;
    EXPECT_NEAR(times.link, stepped.link, 40 * step) << "trial " << trial;
    EXPECT_NEAR(times.gpu, stepped.gpu, 40 * step) << "trial " << trial;
  }
}

}  // namespace
}  // namespace sluice

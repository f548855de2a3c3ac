#include "cache/virtual_time.h"

#include <gtest/gtest.h>

#include "apps/routing_trace_file.h"
#include "cache/guess_worth.h"
#include "cache/trace_replay.h"
#include "tests/cache/drawn_trace.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using Kind = GuessModel::Kind;

VirtualTime go(const RoutingTrace& trace, const VirtualRun& run) {
  const CacheShape shape(trace.experts);
  return run_virtually(trace, std::move(make_cache_policy("mixed", shape)).value(), run);
}

/// Every step wants another expert in each of two layers, and one expert of each fits.
RoutingTrace alternating() {
  RoutingTrace trace = test::empty_trace(2, 4);
  for (std::uint16_t step = 0; step < 100; ++step) {
    const std::vector<std::uint16_t> wanted{static_cast<std::uint16_t>(step % 4)};
    for (const std::uint32_t layer : {0u, 1u}) test::append(trace, layer, true, wanted);
  }
  return trace;
}

VirtualRun slow_disk() {
  return {.capacity = 2 * 4096,
          .disk = {.bytes_per_second = 4096 / 0.01, .latency = 0.002},
          .computer = {.layer = 0.02, .expert = 0.004},
          .guess = {}};
}

TEST(VirtualTime, IsWhatArithmeticSays) {
  const VirtualTime off = go(alternating(), slow_disk());
  EXPECT_EQ(off.tokens, 100u);
  EXPECT_NEAR(off.seconds, 200 * (0.02 + 0.01 + 0.002 + 0.004), 1e-9);
  EXPECT_NEAR(off.waiting, 200 * 0.012, 1e-9);
  EXPECT_EQ(off.bytes_read, 200u * 4096);

  VirtualRun run = slow_disk();
  run.guess = {.kind = Kind::kRecall, .recall = 1, .most = 1, .judged = false};
  // Read behind the first layer's miss, while that is awaited and computed and the next layer's
  // dense part is: every second wait is gone.
  const VirtualTime sure = go(alternating(), run);
  EXPECT_EQ(sure.right, 100u);
  EXPECT_NEAR(sure.waiting, 100 * 0.012, 1e-9);
  EXPECT_EQ(sure.bytes_read, 200u * 4096);

  run.disk.spike_every = 10;
  run.disk.spike = 1;
  EXPECT_GT(go(alternating(), run).seconds, 18);
  EXPECT_EQ(go(alternating(), run).seconds, go(alternating(), run).seconds);
}

TEST(VirtualTime, CountsDecodeOnlyAndStopsWhenItIsTold) {
  RoutingTrace trace = test::empty_trace(1, 4);
  const std::vector<std::uint16_t> all{0, 1, 2, 3}, one{3};
  test::append(trace, 0, false, all);
  test::append(trace, 0, true, one);
  VirtualRun run = slow_disk();
  run.capacity = 4 * 4096;
  const VirtualTime time = go(trace, run);
  EXPECT_EQ(time.tokens, 1u);
  EXPECT_NEAR(time.seconds, 0.024, 1e-9);
  EXPECT_EQ(time.bytes_read, 0u);
  const std::atomic<bool> cancelled = true;
  run.cancelled = &cancelled;
  EXPECT_EQ(go(trace, run).tokens, 0u);
}

TEST(GuessWorth, IsNothingUntilGuessesProveRightAndTheDiskIdle) {
  GuessWorth worth;
  const auto see = [&](bool right, double idle) {
    for (int visit = 0; visit < 300; ++visit) {
      worth.came(0, right);
      worth.came(1, right && visit % 8 == 0);
      worth.read_took(1);
      worth.was_idle(idle);
      worth.missed(true);
    }
  };
  EXPECT_EQ(worth.count(), 0u);
  see(true, 3);
  EXPECT_EQ(worth.count(), 1u);  // the second place is wrong seven times of eight
  see(true, 0);
  EXPECT_EQ(worth.count(), 0u);  // saturated
  see(true, 3);
  EXPECT_EQ(worth.count(), 1u);
  see(false, 3);
  EXPECT_EQ(worth.count(), 0u);
}

/// Reading ahead as far as GuessWorth says is never slower than not at all.
void expect_never_slower(const RoutingTrace& trace) {
  for (const unsigned percent : {25u, 50u, 75u}) {
    for (const DiskModel& disk :
         {DiskModel{.bytes_per_second = 100e6, .spike_every = 50, .spike = 0.02},
          DiskModel{.bytes_per_second = 500e6}, DiskModel{}, DiskModel{.bytes_per_second = 3e9}}) {
      VirtualRun run{.capacity = full_capacity(trace, ReplayRoom::kBytes) * percent / 100,
                     .disk = disk,
                     .computer = {},
                     .guess = {}};
      const double off = go(trace, run).tokens_per_second();
      for (const GuessModel& guess :
           {GuessModel{.kind = Kind::kPopularity}, GuessModel{.kind = Kind::kPaths},
            GuessModel{.kind = Kind::kRecall, .recall = 0.3},
            GuessModel{.kind = Kind::kRecall, .recall = 0.6},
            GuessModel{.kind = Kind::kRecall, .recall = 0.85}, GuessModel{.kind = Kind::kRecall}}) {
        run.guess = guess;
        EXPECT_GE(go(trace, run).tokens_per_second(), off)
            << percent << " %, " << disk.bytes_per_second << " bytes/s, guesser "
            << static_cast<int>(guess.kind) << " " << guess.recall;
      }
    }
  }
}

TEST(NeverSlower, OnQwen3) {
  const auto path = test::test_data("traces/qwen3-30b-a3b.route.csv.gz");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  expect_never_slower(apps::read_routing_trace(path.string())->trace);
}

TEST(NeverSlower, OnGptOss20b) {
  const auto path = test::test_data("traces/gpt-oss-20b");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  RoutingTrace trace = apps::read_routing_trace(path.string())->trace;
  trace.events.resize(200 * trace.experts.size());
  trace.routed.resize(trace.events.back().first + trace.events.back().count);
  std::fill(trace.expert_bytes.begin(), trace.expert_bytes.end(), std::uint64_t{13} << 20);
  expect_never_slower(trace);
}

}  // namespace
}  // namespace sluice

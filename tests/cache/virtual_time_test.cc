#include "cache/virtual_time.h"

#include <gtest/gtest.h>

#include "cache/guess_worth.h"
#include "tests/cache/drawn_trace.h"

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

TEST(VirtualTime, AGuessThatTheDiskHasNoTimeForIsNeverBegun) {
  RoutingTrace trace = test::empty_trace(2, 15);
  for (std::uint16_t step = 0; step < 50; ++step) {
    const auto first = static_cast<std::uint16_t>(step % 5 * 3);
    const std::vector<std::uint16_t> wanted{first, static_cast<std::uint16_t>(first + 1),
                                            static_cast<std::uint16_t>(first + 2)};
    for (const std::uint32_t layer : {0u, 1u}) test::append(trace, layer, true, wanted);
  }
  VirtualRun run{.capacity = 6 * 4096,
                 .disk = {.bytes_per_second = 4096 / 0.01, .latency = 0},
                 .computer = {.layer = 0, .expert = 0},
                 .guess = {.kind = Kind::kRecall, .recall = 1, .judged = false}};
  // The disk is busy with the first layer's three misses for as long as that visit lasts, and one
  // read can be queued behind the last of them. Two guesses are left to be the next visit's misses.
  const VirtualTime time = go(trace, run);
  EXPECT_EQ(time.guesses, 50u);
  EXPECT_EQ(time.right, 50u);
  EXPECT_EQ(time.bytes_read, 300u * 4096);
  EXPECT_NEAR(time.seconds, 300 * 0.01, 1e-9);
}

void see(GuessWorth& worth, int visits, bool right, double idle, bool missed = true) {
  for (int visit = 0; visit < visits; ++visit) {
    worth.was_idle(idle);
    worth.came(0, right);
    worth.came(1, right && visit % 8 == 0);
    worth.read_took(1);
    worth.missed(missed);
  }
}

TEST(GuessWorth, IsNothingUntilGuessesProveRightAndTheDiskIdle) {
  GuessWorth worth;
  EXPECT_EQ(worth.count(), 0u);
  EXPECT_FALSE(worth.pays(0, 100));
  see(worth, 1000, true, 3);
  EXPECT_EQ(worth.count(), 1u);  // the second place is wrong seven times of eight
  EXPECT_TRUE(worth.pays(0, 1));
  EXPECT_FALSE(worth.pays(0, 0));  // the disk has no time for it
  EXPECT_FALSE(worth.pays(GuessWorth::kGrades, 1));
  see(worth, 1000, true, 0);
  EXPECT_EQ(worth.count(), 0u);  // saturated
  see(worth, 1000, true, 3);
  EXPECT_EQ(worth.count(), 1u);
  see(worth, 1000, false, 3);
  EXPECT_EQ(worth.count(), 0u);
}

TEST(GuessWorth, AVisitWithoutMissesLeavesMoreTime) {
  GuessWorth worth;
  for (int visit = 0; visit < 400; ++visit) {
    see(worth, 1, true, 0, false);  // after the one with misses
    see(worth, 1, true, 2, true);   // after the one without
  }
  EXPECT_EQ(worth.idle(), 0);
  EXPECT_FALSE(worth.pays(0, 2));
  see(worth, 1, true, 0, false);
  EXPECT_EQ(worth.idle(), 2);
  EXPECT_TRUE(worth.pays(0, 2));
}

TEST(GuessWorth, AWrongGuessCostsWhatLaterMissesWaitForIt) {
  // Eight of ten are right, and a read takes two and a half times as long as the disk is idle. A
  // wrong one is over long before the next miss if that is far away.
  const auto pays = [](int visits_between_misses) {
    GuessWorth worth;
    for (int visit = 0; visit < 2000; ++visit) {
      worth.was_idle(0.4);
      worth.came(0, visit % 10 > 1);
      worth.read_took(1);
      worth.missed(visit % visits_between_misses == 0);
    }
    worth.missed(false);
    return worth.pays(0, 0.4);
  };
  EXPECT_TRUE(pays(1000));
  EXPECT_FALSE(pays(2));
}

}  // namespace
}  // namespace sluice

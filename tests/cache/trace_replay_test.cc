#include "cache/trace_replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <vector>

#include "apps/routing_trace_file.h"
#include "cache/belady.h"
#include "tests/cache/drawn_trace.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

ReplayResult run(const RoutingTrace& trace, std::string_view policy, const ReplayOptions& options) {
  const CacheShape shape(trace.experts);
  if (policy == "belady") return replay(trace, std::make_unique<Belady>(shape, trace), options);
  return replay(trace, std::move(make_cache_policy(policy, shape)).value(), options);
}

/// A list, newest first, of (layer, expert); hits are looked up before the visit's misses come in.
std::uint64_t hits_of_a_list(const RoutingTrace& trace, std::uint64_t capacity) {
  std::list<std::pair<std::uint32_t, std::uint16_t>> list;
  std::uint64_t hits = 0, used = 0;
  for (const RoutingEvent& event : trace.events) {
    std::vector<std::uint16_t> missing;
    for (const RoutedExpert& routed : trace.wanted(event)) {
      const auto at = std::find(list.begin(), list.end(), std::pair(event.layer, routed.expert));
      if (at == list.end()) {
        missing.push_back(routed.expert);
      } else {
        list.splice(list.begin(), list, at);
        hits += 1;
      }
    }
    for (const std::uint16_t expert : missing) {
      while (used + trace.expert_bytes[event.layer] > capacity) {
        used -= trace.expert_bytes[list.back().first];
        list.pop_back();
      }
      list.emplace_front(event.layer, expert);
      used += trace.expert_bytes[event.layer];
    }
  }
  return hits;
}

TEST(TraceReplay, CountsLruAsAListDoes) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    RoutingTrace trace = test::drawn_trace(seed, 5, 16, 3, 100);
    for (std::size_t layer = 0; layer < 5; ++layer) trace.expert_bytes[layer] = 1000 + 700 * layer;
    for (const std::uint64_t capacity : {20000u, 60000u, 120000u}) {
      const ReplayResult result = run(trace, "lru", {.capacity = capacity});
      ASSERT_EQ(result.hits, hits_of_a_list(trace, capacity)) << "seed " << seed;
      ASSERT_EQ(result.decode_hits, result.hits);
      ASSERT_EQ(result.requests, trace.routed.size());
    }
  }
}

/// Experts of one size, a page: extents leave no gaps, and the two rooms are one.
TEST(TraceReplay, BothRoomsCountAlikeWhereThereAreNoGaps) {
  const RoutingTrace trace = test::drawn_trace(1, 6, 24, 3, 300);
  for (const std::string& name : cache_policy_names()) {
    const auto bytes = run(trace, name, {.capacity = 40 * 4096});
    const auto extents = run(trace, name, {.capacity = 40 * 4096, .room = ReplayRoom::kExtents});
    EXPECT_EQ(bytes.hits, extents.hits) << name;
    EXPECT_EQ(bytes.bytes_loaded, (bytes.requests - bytes.hits) * 4096);
  }
}

TEST(TraceReplay, CountsFromWhereItIsTold) {
  const RoutingTrace trace = test::drawn_trace(2, 4, 16, 2, 100);
  const auto all = run(trace, "lru", {.capacity = 20 * 4096});
  RoutingTrace head = trace;
  head.events.resize(250);
  head.routed.resize(head.events.back().first + head.events.back().count);
  const auto before = run(head, "lru", {.capacity = 20 * 4096});
  const auto after = run(trace, "lru", {.capacity = 20 * 4096, .count_from = 250});
  EXPECT_EQ(before.requests + after.requests, all.requests);
  EXPECT_EQ(before.hits + after.hits, all.hits);
  EXPECT_EQ(before.bytes_loaded + after.bytes_loaded, all.bytes_loaded);
}

TEST(TraceReplay, AVisitLargerThanTheCacheIsCountedAndGoesOn) {
  RoutingTrace trace = test::empty_trace(1, 8);
  const std::vector<std::uint16_t> all{0, 1, 2, 3, 4, 5, 6, 7}, one{7};
  test::append(trace, 0, false, all);
  test::append(trace, 0, true, one);
  for (const ReplayRoom room : {ReplayRoom::kBytes, ReplayRoom::kExtents}) {
    const auto result = run(trace, "lru", {.capacity = 3 * 4096, .room = room});
    EXPECT_EQ(result.requests, 9u);
    EXPECT_EQ(result.hits, 1u);
    EXPECT_EQ(run(trace, "lru", {.capacity = 4095, .room = room}).hits, 0u);
  }
}

TEST(TraceReplay, StopsWhenItIsTold) {
  const std::atomic<bool> cancelled = true;
  const RoutingTrace trace = test::drawn_trace(3, 4, 16, 2, 10);
  EXPECT_EQ(run(trace, "lru", {.capacity = 4096, .cancelled = &cancelled}).requests, 0u);
}

class RecordedTrace : public ::testing::Test {
 protected:
  /// False, and the test is skipped, without the whole test data.
  bool read(const std::string& name) {
    const auto path = test::test_data("traces/" + name);
    if (path.empty()) return false;
    auto file = apps::read_routing_trace(path.string());
    EXPECT_TRUE(file.ok()) << file.status().message();
    if (file.ok()) trace_ = std::move(file->trace);
    return file.ok();
  }
  RoutingTrace trace_;
};

/// Recorded on devices, with one LRU over bytes.
TEST_F(RecordedTrace, Qwen3AgreesWithTheDevice) {
  if (!read("qwen3-30b-a3b.route.csv.gz")) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  ASSERT_EQ(trace_.experts, std::vector<std::uint32_t>(48, 128));
  ReplayOptions options{.capacity = std::uint64_t{4000} << 20};
  const ReplayResult bytes = run(trace_, "lru", options);
  EXPECT_NEAR(bytes.hit_rate(), 0.749, 0.0006);
  EXPECT_NEAR(bytes.decode_hit_rate(), 0.803, 0.0006);
  // Experts of two sizes in real extents cost a little of that: without a preference for victims
  // that make room at once it would be 73.6 and 78.9.
  options.room = ReplayRoom::kExtents;
  const ReplayResult extents = run(trace_, "lru", options);
  EXPECT_NEAR(extents.hit_rate(), 0.749, 0.006);
  EXPECT_NEAR(extents.decode_hit_rate(), 0.803, 0.006);
}

TEST_F(RecordedTrace, GptOss120bAgreesWithTheDevice) {
  if (!read("gpt-oss-120b.route.csv.gz")) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  for (const ReplayRoom room : {ReplayRoom::kBytes, ReplayRoom::kExtents}) {
    const auto result = run(trace_, "lru", {.capacity = std::uint64_t{3000} << 20, .room = room});
    EXPECT_NEAR(result.hit_rate(), 0.324, 0.0006);
    EXPECT_NEAR(result.decode_hit_rate(), 0.448, 0.0006);
  }
}

/// On the last third, with what came before in the cache. Tuned on the first two thirds.
class LastThird : public RecordedTrace {
 protected:
  /// Events before those of decode step `step`.
  static std::size_t first_event(const RoutingTrace& trace, std::size_t step) {
    std::size_t begun = 0;
    for (std::size_t at = 0; at < trace.events.size(); ++at) {
      if (!trace.events[at].decode || trace.events[at].layer != 0) continue;
      if (begun++ == step) return at;
    }
    return trace.events.size();
  }

  /// `closed`: at least this share of LRU's distance to Belady, at 20, 30, 40 and 50 %. `near`: no
  /// policy has more than that above its hit rate.
  void expect_best(std::size_t step, const std::vector<double>& closed, double near) {
    ReplayOptions options{.count_from = first_event(trace_, step)};
    const auto rate = [&](std::string_view name) {
      return run(trace_, name, options).decode_hit_rate();
    };
    for (const unsigned percent : {10u, 20u, 30u, 40u, 50u, 70u}) {
      options.capacity = full_capacity(trace_, ReplayRoom::kBytes) * percent / 100;
      const double chosen = rate("auto"), best = rate("belady"), lru = rate("lru");
      EXPECT_LE(chosen, best) << percent << " %";
      for (const std::string& name : cache_policy_names()) {
        EXPECT_GE(chosen, rate(name) - near) << name << " at " << percent << " %";
      }
      if (percent < 20 || percent > 50) continue;
      EXPECT_GE(chosen - lru, closed[percent / 10 - 2] * (best - lru)) << percent << " %";
    }
  }
};

TEST_F(LastThird, Qwen3) {
  if (!read("qwen3-30b-a3b.route.csv.gz")) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  // At 10 % "paths" is half a point better on these 43 tokens, though not on those before them. At
  // 40 % Belady misses what was never wanted before and nothing else: 209 of 12,384, LRU 772, auto
  // 691. No fixed policy closes more than 17 % of that, nor do the regression's weights close more
  // than 18 % when they are fitted to these very tokens.
  expect_best(85, {0.37, 0.36, 0.14, 0.24}, 0.005);
}

/// 1,200 tokens of it, the cache warm from 800 before them: all of it takes a minute.
TEST_F(LastThird, GptOss20b) {
  if (!read("gpt-oss-20b")) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  const std::size_t begin = first_event(trace_, 37000), end = first_event(trace_, 39000);
  trace_.events.erase(trace_.events.begin() + static_cast<std::ptrdiff_t>(end),
                      trace_.events.end());
  trace_.routed.resize(trace_.events.back().first + trace_.events.back().count);
  trace_.events.erase(trace_.events.begin(),
                      trace_.events.begin() + static_cast<std::ptrdiff_t>(begin));
  const std::size_t gone = trace_.events.front().first;
  trace_.routed.erase(trace_.routed.begin(),
                      trace_.routed.begin() + static_cast<std::ptrdiff_t>(gone));
  for (RoutingEvent& event : trace_.events) event.first -= gone;
  expect_best(37808 - 37000, {0.6, 0.6, 0.55, 0.48}, 0.003);
}

}  // namespace
}  // namespace sluice

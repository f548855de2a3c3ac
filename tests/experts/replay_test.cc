// A replay of what the store was asked for counts what the store counted, as long as nothing is
// read ahead and every visit's experts fit at once.

#include "cache/trace_replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/experts/store_bench.h"

namespace sluice {
namespace {

using test::Placement;
using test::StoreBench;

constexpr auto kQ4 = TensorType::kQ4_K;
constexpr auto kQ6 = TensorType::kQ6_K;

/// Experts of three sizes, of which the sectors that they touch make more.
std::vector<test::FakeLayer> ragged_layers() {
  return {{0, 16, {kQ4, kQ4, kQ6}}, {1, 24, {kQ4, kQ4, kQ4}}, {3, 12, {kQ6, kQ4, kQ6}}};
}

/// Passes of which some want many experts and most what a pass before wanted or a low number.
RoutingTrace draw_trace(const StoreBench& bench, unsigned seed) {
  RoutingTrace trace;
  for (const ExpertLayer& layer : bench.catalogue.layers()) {
    trace.experts.push_back(layer.experts);
    trace.expert_bytes.push_back(layer.expert_bytes());
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      trace.slot_bytes.push_back(bench.store->slot_bytes({layer.layer, expert}));
    }
  }
  std::mt19937 random(seed);
  for (int pass = 0; pass < 400; ++pass) {
    const bool decode = pass % 20 != 0;
    for (std::uint32_t layer = 0; layer < trace.experts.size(); ++layer) {
      const std::size_t count = decode ? 3 : 3 + random() % 6;
      const std::size_t first = trace.routed.size();
      while (trace.routed.size() < first + count) {
        const auto expert =
            static_cast<std::uint16_t>(random() % (1 + random() % trace.experts[layer]));
        const std::span wanted(trace.routed.data() + first, trace.routed.size() - first);
        if (std::ranges::find(wanted, expert, &RoutedExpert::expert) != wanted.end()) continue;
        trace.routed.push_back({expert, share_of(static_cast<std::uint16_t>(random()))});
      }
      trace.events.push_back({.layer = layer,
                              .decode = decode,
                              .count = static_cast<std::uint32_t>(count),
                              .first = first});
    }
  }
  return trace;
}

void run(StoreBench& bench, const RoutingTrace& trace) {
  for (const RoutingEvent& event : trace.events) {
    std::vector<std::uint32_t> experts;
    std::vector<float> scores;
    for (const RoutedExpert& routed : trace.wanted(event)) {
      experts.push_back(routed.expert);
      scores.push_back(routed.score);
    }
    ASSERT_TRUE(
        bench.store->begin(bench.catalogue.layers()[event.layer].layer, experts, scores).ok());
    for (;;) {
      const auto ready = bench.store->ready();
      ASSERT_TRUE(ready.ok());
      if (ready->empty()) break;
      const std::vector<std::uint32_t> group(ready->begin(), ready->end());
      ASSERT_TRUE(bench.store->release(group).ok());
    }
    bench.store->end();
  }
}

class Replay : public ::testing::TestWithParam<std::string> {};

TEST_P(Replay, CountsWhatTheStoreCounted) {
  for (const Placement placement : {Placement::kStacked, Placement::kApart}) {
    const auto fake =
        std::make_shared<test::FakeCheckpoint>(test::make_checkpoint(ragged_layers(), placement));
    for (const std::size_t alignment : {1, 512, 4096}) {
      for (const std::size_t pages : {600, 750, 950}) {
        SCOPED_TRACE(std::to_string(alignment) + "-byte sectors, " + std::to_string(pages) +
                     " pages");
        const std::size_t capacity = pages * 4096;
        StoreBench bench(fake, alignment, capacity, GetParam(), static_cast<unsigned>(pages));
        ASSERT_NE(bench.store, nullptr);
        const RoutingTrace trace = draw_trace(bench, static_cast<unsigned>(alignment + pages));
        run(bench, trace);
        const ExpertStatistics counted = bench.store->statistics();
        const ReplayResult replayed =
            replay(trace, make_cache_policy(GetParam(), CacheShape(trace.experts)).value(),
                   {.capacity = capacity, .room = ReplayRoom::kExtents});
        EXPECT_GT(counted.hits, counted.requests / 20);
        EXPECT_LT(counted.hits, counted.requests * 19 / 20);
        EXPECT_EQ(counted.expected, 0u);
        EXPECT_EQ(replayed.requests, counted.requests);
        EXPECT_EQ(replayed.hits, counted.hits);
        EXPECT_EQ(replayed.requests - replayed.hits, counted.loads);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, Replay, ::testing::ValuesIn(cache_policy_names()),
                         [](const auto& policy) { return policy.param; });

}  // namespace
}  // namespace sluice

#include "experts/warm_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "tests/experts/store_bench.h"

namespace sluice {
namespace {

using test::FakeLayer;
using test::Placement;
using test::ReadFault;
using test::StoreBench;

constexpr std::uint32_t kExperts = 16;
const std::vector<FakeLayer> kLayers = {{0, kExperts}, {1, kExperts}, {3, kExperts}};

/// An expert is one read.
StoreBench make_bench(std::size_t slots, const std::string& policy = "auto", unsigned seed = 1) {
  static const auto fake =
      std::make_shared<test::FakeCheckpoint>(test::make_checkpoint(kLayers, Placement::kAdjacent));
  static const std::size_t slot = [] {
    const StoreBench bench(fake, 512, std::size_t{1} << 24);
    return ExpertStore::minimum_capacity(bench.catalogue, *bench.reader, 1) / 2;
  }();
  return {fake, 512, slots * slot, policy, seed};
}

/// Of every layer the experts `first` to `first` + 3; the lower, the hotter.
HotSet some_hot_set(std::uint16_t first = 0) {
  HotSet hot{{100, 100, 100}, {}};
  for (std::uint16_t rank = 0; rank < 4; ++rank) {
    for (const std::uint16_t turn : std::array<std::uint16_t, 3>{2, 0, 1}) {
      hot.experts.push_back({turn, static_cast<std::uint16_t>(first + rank), 90u - 20u * rank});
    }
  }
  return hot;
}

std::vector<ExpertId> residents(const ExpertStore& store) {
  std::vector<ExpertId> found;
  for (const FakeLayer& layer : kLayers) {
    for (std::uint32_t expert = 0; expert < kExperts; ++expert) {
      if (store.resident({layer.layer, expert})) found.push_back({layer.layer, expert});
    }
  }
  return found;
}

TEST(WarmStart, WhileNothingIsComputedAllIsRead) {
  StoreBench bench = make_bench(24);
  bench.store->warm(some_hot_set());
  EXPECT_EQ(bench.reader->reads, 0u);
  while (bench.store->warm_up()) EXPECT_EQ(bench.reader->under_way(), 0u);
  EXPECT_EQ(bench.reader->reads, 12u);
  EXPECT_EQ(residents(*bench.store).size(), 12u);
  for (const FakeLayer& layer : kLayers) {
    ASSERT_TRUE(bench.visit(layer.layer, {3, 1, 0, 2}).ok());
  }
  const ExpertStatistics statistics = bench.store->statistics();
  EXPECT_EQ(bench.reader->reads, 12u);
  EXPECT_EQ(statistics.hits, 12u);
  EXPECT_EQ(statistics.loads, 12u);
  EXPECT_EQ(statistics.warmed, 12u);
  EXPECT_EQ(statistics.expected, 0u);
  EXPECT_EQ(statistics.wait_nanoseconds, 0u);
}

TEST(WarmStart, TakesFreeRoomOnlyAndTheBestOfEveryLayerFirst) {
  StoreBench bench = make_bench(5);
  bench.store->warm(some_hot_set());
  EXPECT_FALSE(bench.store->warm_up());
  using Ids = std::vector<ExpertId>;
  EXPECT_EQ(residents(*bench.store), (Ids{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {3, 0}}));
  EXPECT_FALSE(bench.store->warm_up());
  EXPECT_EQ(bench.reader->reads, 5u);

  StoreBench full = make_bench(2);
  ASSERT_TRUE(full.visit(0, {9, 10}).ok());
  full.store->warm(some_hot_set());
  full.store->settle();
  EXPECT_FALSE(full.store->warm_up());
  EXPECT_EQ(residents(*full.store), (Ids{{0, 9}, {0, 10}}));
}

TEST(WarmStart, WaitsForTheVisitsReadsAndForWhatIsExpected) {
  StoreBench bench = make_bench(48);
  bench.reader->most_per_reap = 1;
  bench.store->warm(some_hot_set());
  ASSERT_TRUE(bench.begin(0, {8, 9, 10, 11}, 1, {12, 13}).ok());
  std::size_t handed = 0;
  while (true) {
    const bool reading = bench.reader->under_way() > 1;  // `ready` takes one
    const auto ready = bench.store->ready();
    ASSERT_TRUE(ready.ok());
    if (ready->empty()) break;
    handed += ready->size();
    if (reading) {
      EXPECT_EQ(bench.store->statistics().warmed, 0u);
    }
    const std::vector<std::uint32_t> group(ready->begin(), ready->end());
    ASSERT_TRUE(bench.store->release(group).ok());
  }
  EXPECT_EQ(handed, 4u);
  bench.store->end();
  bench.store->settle();
  ASSERT_TRUE(bench.begin(1, {12, 13}, 0, {}).ok());  // in memory: the disk is idle
  while (true) {
    const auto ready = bench.store->ready();
    ASSERT_TRUE(ready.ok());
    if (ready->empty()) break;
    const std::vector<std::uint32_t> group(ready->begin(), ready->end());
    ASSERT_TRUE(bench.store->release(group).ok());
  }
  bench.store->end();
  EXPECT_GT(bench.store->statistics().warmed, 0u);
  bench.store->settle();
  EXPECT_EQ(bench.reader->under_way(), 0u);
}

TEST(WarmStart, TakesAsMuchAsTheDiskFinishesUnnoticed) {
  HotSet hot{{100, 100, 100}, {}};
  for (std::uint16_t expert = 0; expert < kExperts; ++expert) {
    for (std::uint16_t turn = 0; turn < 3; ++turn) hot.experts.push_back({turn, expert, 50});
  }
  const std::vector<std::uint32_t> none;
  StoreBench quick = make_bench(48), slow = make_bench(48);
  quick.reader->most_per_reap = 64;  // everything is there when it is looked for
  quick.store->warm(hot);
  std::vector<std::size_t> under_way;
  for (int visit = 0; visit < 4; ++visit) {
    ASSERT_TRUE(quick.store->begin(kLayers[static_cast<std::size_t>(visit) % 3].layer, none).ok());
    quick.store->end();
    under_way.push_back(quick.reader->under_way());
  }
  EXPECT_EQ(under_way, (std::vector<std::size_t>{1, 2, 4, 8}));
  quick.reader->most_per_reap = 0;
  ASSERT_TRUE(quick.store->begin(0, none).ok());
  quick.store->end();
  EXPECT_EQ(quick.reader->under_way(), 8u);  // not one more while these are not done
  quick.reader->most_per_reap = 64;

  slow.reader->most_per_reap = 0;  // nothing is
  slow.store->warm(hot);
  for (int visit = 0; visit < 9; ++visit) {
    ASSERT_TRUE(slow.store->begin(kLayers[static_cast<std::size_t>(visit) % 3].layer, none).ok());
    slow.store->end();
    EXPECT_EQ(slow.reader->under_way(), 1u);
  }
  slow.reader->most_per_reap = 1;
}

TEST(WarmStart, AVisitTakesOverWhatIsBeingRead) {
  StoreBench bench = make_bench(24);
  bench.store->warm(some_hot_set());
  ASSERT_TRUE(bench.store->begin(0, {}).ok());
  bench.store->end();
  ASSERT_EQ(bench.reader->under_way(), 1u);  // layer 0's best
  bench.reader->most_per_reap = 0;
  ASSERT_TRUE(bench.store->begin(0, std::vector<std::uint32_t>{0}).ok());
  EXPECT_EQ(bench.reader->reads, 1u);
  bench.reader->most_per_reap = 2;
  const auto ready = bench.store->ready();
  ASSERT_TRUE(ready.ok());
  EXPECT_EQ(ready->size(), 1u);
  ASSERT_TRUE(bench.store->prepare(*ready, bench.device).ok());
  EXPECT_TRUE(bench.right(0, 0, bench.store->weights(0)));
  bench.store->end();
  bench.store->settle();
  EXPECT_TRUE(bench.store->resident({0, 0}));
}

TEST(WarmStart, AReadThatFailsIsNobodysFailure) {
  for (const ReadFault fault : {ReadFault::kFail, ReadFault::kShort}) {
    StoreBench bench = make_bench(24);
    bench.reader->fault = fault;
    bench.reader->fault_at = 2;  // layer 3's best
    bench.store->warm(some_hot_set());
    while (bench.store->warm_up()) continue;
    EXPECT_FALSE(bench.store->resident({3, 0}));
    EXPECT_TRUE(bench.visit(3, {0}).ok());
  }
  StoreBench refused = make_bench(24);
  refused.store->warm(some_hot_set());
  refused.reader->refuse_submissions = true;
  while (refused.store->warm_up()) continue;
  refused.reader->refuse_submissions = false;
  EXPECT_EQ(refused.store->statistics().warmed, 0u);
  for (const FakeLayer& layer : kLayers) EXPECT_TRUE(refused.visit(layer.layer, {0, 1, 2}).ok());
}

TEST(WarmStart, ACancelledPassLeavesNothingUnderWay) {
  StoreBench bench = make_bench(48);
  bench.store->warm(some_hot_set());
  ASSERT_TRUE(bench.visit(0, {9}).ok());
  ASSERT_TRUE(bench.begin(1, {9, 10}, 3, {9}).ok());
  bench.store->end();  // in the middle of a visit
  bench.store->settle();
  EXPECT_EQ(bench.reader->under_way(), 0u);
}

TEST(WarmStart, WhatOneRunLeavesTheNextBeginsWith) {
  StoreBench first = make_bench(9);
  for (int pass = 0; pass < 40; ++pass) {
    for (const FakeLayer& layer : kLayers) {
      const auto seldom = static_cast<std::uint32_t>(4 + pass % 12);
      ASSERT_TRUE(first.visit(layer.layer, {1, 2, seldom}).ok());
    }
  }
  const HotSet hot = first.store->hot_set();
  EXPECT_EQ(hot.visits, (std::vector<std::uint32_t>{40, 40, 40}));
  ASSERT_EQ(hot.experts.size(), 9u);
  for (std::size_t i = 0; i < 6; ++i) {  // the favourites are worth most
    EXPECT_TRUE(hot.experts[i].expert == 1 || hot.experts[i].expert == 2);
    EXPECT_EQ(hot.experts[i].uses, 40u);
  }
  StoreBench second = make_bench(6);
  second.store->warm(hot);
  while (second.store->warm_up()) continue;
  for (const FakeLayer& layer : kLayers) {
    EXPECT_TRUE(second.store->resident({layer.layer, 1}));
    EXPECT_TRUE(second.store->resident({layer.layer, 2}));
  }
  // What found no room is not forgotten, and what was counted counts half.
  const HotSet third = second.store->hot_set();
  EXPECT_EQ(third.experts.size(), 9u);
  EXPECT_EQ(third.visits, (std::vector<std::uint32_t>{20, 20, 20}));
  EXPECT_EQ(third.experts.front().uses, 20u);
}

TEST(WarmStart, ThePolicyKnowsWhatWasOftenUsed) {
  for (const char* policy : {"auto", "decayed", "lfu", "mrs", "edgemoe"}) {
    StoreBench bench = make_bench(12, policy);
    bench.store->warm(some_hot_set());  // in its layer 0 is the hottest, 3 the coldest
    while (bench.store->warm_up()) continue;
    ASSERT_TRUE(bench.visit(0, {14}).ok());
    EXPECT_EQ(residents(*bench.store).size(), 12u) << policy;
    for (const FakeLayer& layer : kLayers) {
      EXPECT_TRUE(bench.store->resident({layer.layer, 0})) << policy;
    }
  }
}

TEST(WarmStart, NeverChangesWhatAVisitGets) {
  for (unsigned seed = 0; seed < 80; ++seed) {
    std::mt19937 random(seed);
    const std::size_t slots = std::array<std::size_t, 5>{1, 2, 8, 20, 48}[seed % 5];
    StoreBench bench = make_bench(slots, seed % 2 == 0 ? "auto" : "lru", seed);
    bench.reader->most_per_reap = 1 + seed % 3;
    bench.reader->fault = seed % 4 == 0 ? ReadFault::kFail : ReadFault::kDelay;
    bench.reader->fault_at = random() % 100;
    HotSet hot{{9, 0, 4000000000u}, {}};
    for (int i = 0; i < 40; ++i) {  // some of them twice
      hot.experts.push_back({static_cast<std::uint16_t>(random() % 3),
                             static_cast<std::uint16_t>(random() % kExperts),
                             static_cast<std::uint32_t>(random())});
    }
    bench.store->warm(hot);
    const auto draw = [&] {
      std::vector<std::uint32_t> experts = test::all_experts(kExperts);
      std::shuffle(experts.begin(), experts.end(), random);
      experts.resize(3);
      return experts;
    };
    int failures = 0;
    for (int pass = 0; pass < 20; ++pass) {
      if (random() % 4 == 0) bench.store->warm_up();
      for (std::size_t turn = 0; turn < kLayers.size(); ++turn) {
        const std::uint32_t next = kLayers[(turn + 1) % kLayers.size()].layer;
        const Reach reach = random() % 2 == 0 ? Reach::kGap : Reach::kAll;
        const auto likely = turn < 2 && random() % 2 == 0 ? draw() : std::vector<std::uint32_t>();
        if (random() % 16 == 0) {
          static_cast<void>(bench.begin(kLayers[turn].layer, draw(), next, likely, reach));
          bench.store->end();
          break;
        }
        failures += !bench.visit(kLayers[turn].layer, draw(), next, likely, reach).ok();
      }
      bench.store->settle();
      ASSERT_EQ(bench.reader->under_way(), 0u);
    }
    EXPECT_LE(failures, 1) << "seed " << seed;
    EXPECT_TRUE(bench.reader->violations.empty()) << bench.reader->violations.front();
    for (const FakeLayer& layer : kLayers) {  // no slot leaked and no pin was left
      ASSERT_TRUE(bench.visit(layer.layer, test::all_experts(kExperts)).ok());
    }
    for (const HotSet::Expert& one : bench.store->hot_set().experts) {
      EXPECT_LT(one.turn, 3u);
      EXPECT_LT(one.expert, kExperts);
    }
  }
}

}  // namespace
}  // namespace sluice

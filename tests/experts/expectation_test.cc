#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/experts/store_bench.h"

namespace sluice {
namespace {

using test::FakeLayer;
using test::Placement;
using test::ReadFault;
using test::StoreBench;

using Experts = std::vector<std::uint32_t>;

constexpr std::uint32_t kExperts = 16;
const std::vector<FakeLayer> kLayers = {{0, kExperts}, {1, kExperts}, {3, kExperts}};

std::size_t slot_bytes() {
  const StoreBench bench(kLayers, Placement::kAdjacent, 512, std::size_t{1} << 24);
  return ExpertStore::minimum_capacity(bench.catalogue, *bench.reader, 1) / 2;
}

/// An expert is one read.
StoreBench make_bench(std::size_t slots) {
  return {kLayers, Placement::kAdjacent, 512, slots * slot_bytes()};
}

TEST(Expectation, WhatArrivedIsNotReadAgain) {
  StoreBench bench = make_bench(24);
  ASSERT_TRUE(bench.visit(0, {1, 2}, 1, {5, 6}).ok());
  bench.store->settle();
  EXPECT_EQ(bench.reader->under_way(), 0u);
  EXPECT_EQ(bench.reader->reads, 4u);
  EXPECT_TRUE(bench.store->resident({1, 5}));
  ASSERT_TRUE(bench.visit(1, {6, 5}).ok());
  EXPECT_EQ(bench.reader->reads, 4u);
  const ExpertStatistics statistics = bench.store->statistics();
  EXPECT_EQ(statistics.requests, 4u);
  EXPECT_EQ(statistics.hits, 2u);
  EXPECT_EQ(statistics.loads, 4u);
  EXPECT_EQ(statistics.expected, 2u);
  EXPECT_EQ(statistics.expected_rightly, 2u);
  EXPECT_EQ(statistics.late, 0u);
  EXPECT_EQ(statistics.wasted, 0u);
}

TEST(Expectation, WhatIsUnderWayBecomesTheVisits) {
  StoreBench bench = make_bench(24);
  ASSERT_TRUE(bench.begin(0, {1, 2}, 1, {5, 6}).ok());
  EXPECT_EQ(bench.reader->under_way(), 4u);
  bench.store->end();  // waits for its own
  const std::size_t left = bench.reader->under_way();
  ASSERT_TRUE(bench.visit(1, {6, 9}).ok());
  EXPECT_EQ(bench.reader->reads, 5u) << "with " << left << " under way";
  EXPECT_EQ(bench.store->statistics().expected_rightly, 1u);
  bench.store->settle();
  EXPECT_EQ(bench.reader->under_way(), 0u);
  EXPECT_EQ(bench.store->statistics().wasted, 1u);
}

TEST(Expectation, IsCountedInTheLayerThatItIsFor) {
  StoreBench bench = make_bench(24);
  ASSERT_TRUE(bench.visit(0, {1, 2}, 1, {5, 6}).ok());
  bench.store->settle();
  ASSERT_TRUE(bench.visit(1, {6, 9}, 3, {7, 8}).ok());
  bench.store->settle();
  bench.reader->most_per_reap = 1;
  ASSERT_TRUE(bench.begin(3, {7}, 0, {2, 3}).ok());
  bench.store->end();
  bench.reader->most_per_reap = 0;  // nothing comes in before the router speaks
  ASSERT_TRUE(bench.store->begin(0, Experts{3}).ok());
  bench.reader->most_per_reap = 2;
  bench.store->end();
  bench.store->settle();

  const auto layers = bench.store->layer_statistics();
  ASSERT_EQ(layers.size(), 3u);
  const auto of = [&](std::size_t turn) {
    const ExpertStatistics& layer = layers[turn];
    return std::array{layer.requests,         layer.hits, layer.loads, layer.expected,
                      layer.expected_rightly, layer.late, layer.wasted};
  };
  using Counts = std::array<std::uint64_t, 7>;
  EXPECT_EQ(of(0), (Counts{3, 0, 3, 1, 1, 1, 0}));  // 2 was in memory and not read
  EXPECT_EQ(of(1), (Counts{2, 1, 3, 2, 1, 0, 1}));
  EXPECT_EQ(of(2), (Counts{1, 1, 2, 2, 1, 0, 1}));
  for (const ExpertStatistics& layer : layers) EXPECT_GT(layer.bytes_read, 0u);

  ExpertStatistics sum;
  for (const ExpertStatistics& layer : layers) sum += layer;
  EXPECT_EQ(sum.bytes_read, bench.store->statistics().bytes_read);
  EXPECT_EQ(sum.loads, bench.reader->reads);  // an expert is one read
}

TEST(Expectation, IsReadWhereTheVisitLeavesTheDiskSomethingToDo) {
  StoreBench bench(kLayers, Placement::kAdjacent, 512, std::size_t{1} << 26);
  bench.reader->most_per_reap = 1;
  ASSERT_TRUE(
      bench.begin(0, test::all_experts(kExperts), 1, test::all_experts(kExperts), Reach::kAll)
          .ok());
  std::vector<std::uint64_t> started;
  for (std::size_t handed = 0; handed < kExperts;) {
    const auto ready = bench.store->ready();
    ASSERT_TRUE(ready.ok() && !ready->empty());
    handed += ready->size();
    const std::vector<std::uint32_t> group(ready->begin(), ready->end());
    ASSERT_TRUE(bench.store->release(group).ok());
    started.push_back(bench.store->statistics().expected);
  }
  bench.store->end();
  EXPECT_GT(started.back(), 0u);
  EXPECT_TRUE(std::is_sorted(started.begin(), started.end()));
  bench.store->settle();
  const std::uint64_t before = bench.store->statistics().expected;
  ASSERT_TRUE(bench.visit(1, {1}).ok());
  EXPECT_EQ(bench.store->statistics().expected, before);  // the list was for layer 1's turn
}

TEST(Expectation, MakesNoRoomForItselfAmongTheWanted) {
  StoreBench bench = make_bench(4);
  ASSERT_TRUE(bench.begin(0, {1, 2, 3, 4}, 1, test::all_experts(kExperts)).ok());
  EXPECT_EQ(bench.reader->reads, 4u);
  bench.store->end();
  bench.store->settle();
  // A visit that waits for room comes first.
  const std::uint64_t before = bench.store->statistics().expected;
  ASSERT_TRUE(bench.begin(0, test::all_experts(kExperts), 1, {9}).ok());
  EXPECT_EQ(bench.store->statistics().expected, before);
  bench.store->end();
}

TEST(Expectation, ThatHasAllTheRoomIsWaitedFor) {
  StoreBench bench = make_bench(2);
  ASSERT_TRUE(bench.begin(0, {}, 1, {5, 6}).ok());
  bench.store->end();
  EXPECT_EQ(bench.reader->under_way(), 2u);
  EXPECT_TRUE(bench.visit(1, {9}).ok());
}

TEST(Expectation, IsNotWorthItWhereNearlyEverythingIsInMemory) {
  StoreBench bench(kLayers, Placement::kAdjacent, 512, std::size_t{1} << 26);
  EXPECT_TRUE(bench.store->guesses_help(Reach::kGap));
  for (int pass = 0; pass < 200; ++pass) {
    ASSERT_TRUE(bench.visit(0, {1, 2}).ok());
    if (pass % 32 == 0) {
      ASSERT_TRUE(bench.visit(1, {static_cast<std::uint32_t>(pass / 32)}).ok());
    }
  }
  EXPECT_FALSE(bench.store->guesses_help(Reach::kGap));
}

TEST(Expectation, StaysWorthItWhereItIsRight) {
  StoreBench bench =
      make_bench(8);  // the experts come round, so that none is left of the last time
  for (int pass = 0; pass < 200; ++pass) {
    for (const FakeLayer& layer : kLayers) {
      const auto expert = static_cast<std::uint32_t>(pass) % kExperts;
      const std::uint32_t next = layer.layer == 0 ? 1 : layer.layer == 1 ? 3 : 0;
      ASSERT_TRUE(bench.visit(layer.layer, {expert}, next, {expert}).ok());
    }
    bench.store->settle();
  }
  EXPECT_GT(bench.store->statistics().hits, 300u);
  EXPECT_TRUE(bench.store->guesses_help(Reach::kGap));
}

TEST(Expectation, PassesOverWhatTheLayerDoesNotHave) {
  StoreBench bench = make_bench(24);
  ASSERT_TRUE(bench.visit(0, {1}, 1, {kExperts, 4000000000u, 3}).ok());
  ASSERT_TRUE(bench.visit(0, {1}, 2, {1, 2}).ok());  // a layer without experts
  bench.store->settle();
  EXPECT_TRUE(bench.store->resident({1, 3}));
  EXPECT_EQ(bench.store->statistics().expected, 1u);
}

TEST(Expectation, ThatFailsIsNobodysFailureUntilSomebodyWantsIt) {
  for (const ReadFault fault : {ReadFault::kFail, ReadFault::kShort}) {
    for (const std::uint32_t wanted : {5u, 6u}) {
      StoreBench bench = make_bench(24);
      bench.reader->fault = fault;
      bench.reader->fault_at = 1;  // the expected one
      ASSERT_TRUE(bench.visit(0, {1}, 1, {5}).ok());
      bench.store->settle();
      EXPECT_FALSE(bench.store->resident({1, 5}));
      EXPECT_TRUE(bench.visit(1, {wanted}).ok());  // read anew
    }
  }
}

TEST(Expectation, ThatFailsAfterItWasClaimedIsTheVisitsFailure) {
  StoreBench bench = make_bench(24);
  bench.reader->most_per_reap = 1;
  bench.reader->fault = ReadFault::kFail;
  bench.reader->fault_at = 0;
  const Experts none, likely = {5}, wanted = {5, 6};
  ASSERT_TRUE(bench.store->begin(0, none).ok());
  bench.store->expect(1, bench.surely(likely), Reach::kAll);
  bench.store->end();
  ASSERT_EQ(bench.reader->under_way(), 1u);
  bench.reader->most_per_reap = 0;
  ASSERT_TRUE(bench.store->begin(1, wanted).ok());
  bench.reader->most_per_reap = 1;
  Status status;
  for (int i = 0; i < 2 && status.ok(); ++i) status = status_of(bench.store->ready());
  bench.store->end();
  EXPECT_THAT(status.message(), ::testing::HasSubstr("layer 1, expert 5"));
  EXPECT_TRUE(bench.visit(1, wanted).ok());
}

TEST(Expectation, ThatTheReaderRefusesIsForgotten) {
  StoreBench bench = make_bench(24);
  ASSERT_TRUE(bench.visit(0, {1}).ok());
  ASSERT_TRUE(bench.store->begin(0, Experts{1}).ok());
  bench.reader->refuse_submissions = true;
  bench.store->expect(1, bench.surely({5, 6}), Reach::kGap);
  bench.reader->refuse_submissions = false;
  bench.store->end();
  EXPECT_EQ(bench.store->statistics().expected, 0u);
  EXPECT_TRUE(bench.visit(1, {5, 6}).ok());
}

TEST(Expectation, AWrongOneIsGivenUpFirst) {
  StoreBench bench = make_bench(6);
  ASSERT_TRUE(bench.visit(0, {1, 2}, 1, {5}).ok());
  Experts wanted;
  for (std::uint32_t expert = 6; expert < kExperts && bench.store->resident({1, 5}); ++expert) {
    wanted.push_back(expert);
    ASSERT_TRUE(bench.visit(1, wanted).ok());
    ASSERT_TRUE(bench.visit(0, {1, 2}).ok());
    ASSERT_EQ(bench.store->statistics().loads, 3 + wanted.size());  // nothing else went
  }
  EXPECT_FALSE(bench.store->resident({1, 5}));
}

TEST(Expectation, IsKeptUntilItsTurnWhileOthersGo) {
  const auto resident_after = [](bool expects) {
    StoreBench bench = make_bench(6);
    EXPECT_TRUE(bench.visit(1, {5, 6, 7}).ok());
    for (int pass = 0; pass < 20; ++pass) {  // layer 1's have become the coldest
      EXPECT_TRUE(bench.visit(0, {1, 2, 3}).ok());
      EXPECT_TRUE(bench.visit(1, {}).ok());
    }
    EXPECT_TRUE(bench.visit(0, {1, 2, 3}, 1, expects ? Experts{5, 6, 7} : Experts{}).ok());
    for (std::uint32_t other = 10; other < 16; ++other) EXPECT_TRUE(bench.visit(0, {other}).ok());
    int resident = 0;
    for (const std::uint32_t expert : {5u, 6u, 7u}) resident += bench.store->resident({1, expert});
    return resident;
  };
  EXPECT_EQ(resident_after(true), 3);
  EXPECT_LT(resident_after(false), 3);
}

/// Right and wrong guesses, late and early ones, failing and delayed reads, ends in mid-visit.
TEST(Expectation, NeverChangesWhatAVisitGets) {
  for (unsigned seed = 0; seed < 120; ++seed) {
    std::mt19937 random(seed);
    const std::size_t slots = std::array<std::size_t, 5>{1, 2, 5, 12, 30}[seed % 5];
    StoreBench bench(std::make_shared<test::FakeCheckpoint>(test::make_checkpoint(
                         kLayers, seed % 2 == 0 ? Placement::kAdjacent : Placement::kStacked)),
                     512, slots * slot_bytes(), seed % 4 < 2 ? "auto" : "lru", seed);
    bench.reader->most_per_reap = 1 + seed % 3;
    bench.reader->fault = seed % 4 == 0 ? ReadFault::kFail : ReadFault::kDelay;
    bench.reader->fault_at = random() % 300;
    const bool cut_short = seed % 3 == 0;
    const auto draw = [&](std::size_t count) {
      Experts experts = test::all_experts(kExperts);
      std::shuffle(experts.begin(), experts.end(), random);
      experts.resize(count);
      return experts;
    };
    int failures = 0;
    for (int pass = 0; pass < 30; ++pass) {
      Experts wanted = draw(4);
      for (std::size_t turn = 0; turn < kLayers.size(); ++turn) {
        const bool last = turn + 1 == kLayers.size();
        const Experts next = draw(4);
        Experts likely = random() % 2 == 0 ? next : draw(6);
        std::shuffle(likely.begin(), likely.end(), random);
        const std::uint32_t layer = kLayers[turn].layer;
        const Reach reach = random() % 2 == 0 ? Reach::kGap : Reach::kAll;
        const std::uint32_t next_layer = last ? 0 : kLayers[turn + 1].layer;
        if (cut_short && random() % 16 == 0) {
          static_cast<void>(bench.begin(layer, wanted, next_layer, likely, reach));
          bench.store->end();
          break;
        }
        const Status status = last ? bench.visit(layer, wanted)
                                   : bench.visit(layer, wanted, next_layer, likely, reach);
        failures += !status.ok();
        wanted = next;
      }
      bench.store->settle();
      ASSERT_EQ(bench.reader->under_way(), 0u);
    }
    EXPECT_LE(failures, 1) << "seed " << seed;
    EXPECT_TRUE(bench.reader->violations.empty()) << bench.reader->violations.front();
    // No slot leaked and no pin was left.
    for (const FakeLayer& layer : kLayers) {
      ASSERT_TRUE(bench.visit(layer.layer, test::all_experts(kExperts)).ok());
    }
    for (std::uint32_t expert = 0; seed % 4 >= 2 && slots < kExperts && expert < kExperts;
         ++expert) {
      EXPECT_FALSE(bench.store->resident({0, expert}) || bench.store->resident({1, expert}));
    }
    bench.store->settle();
    const ExpertStatistics statistics = bench.store->statistics();
    EXPECT_LE(statistics.late, statistics.expected_rightly);
    EXPECT_EQ(statistics.expected_rightly + statistics.wasted, statistics.expected);
    if (!cut_short && failures == 0) {
      EXPECT_GE(statistics.loads + statistics.hits, statistics.requests);
      EXPECT_LE(statistics.loads + statistics.hits, statistics.requests + statistics.expected);
    }
  }
}

}  // namespace
}  // namespace sluice

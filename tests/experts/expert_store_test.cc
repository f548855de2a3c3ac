#include "experts/expert_store.h"

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
using ::testing::HasSubstr;

constexpr auto kQ4 = TensorType::kQ4_K;
constexpr auto kQ6 = TensorType::kQ6_K;

/// Layers of different widths (down is Q6_K in some, as in the usual "_M" mixtures), with a dense
/// one between.
std::vector<FakeLayer> ragged_layers() {
  return {{0, 16, {kQ4, kQ4, kQ6}},
          {1, 16, {kQ4, kQ4, kQ4}},
          {3, 16, {kQ4, kQ4, kQ4}},
          {4, 12, {kQ6, kQ4, kQ6}}};
}

std::vector<std::uint32_t> choose(std::mt19937& random, std::uint32_t count, std::size_t k) {
  std::vector<std::uint32_t> experts = test::all_experts(count);
  std::shuffle(experts.begin(), experts.end(), random);
  experts.resize(k);
  return experts;
}

std::size_t widest_slot(const ExpertCatalogue& catalogue, const BlockReader& reader) {
  return ExpertStore::minimum_capacity(catalogue, reader, 1) / 2;
}

std::size_t one_slot(Placement placement) {
  const auto fake = test::make_checkpoint(ragged_layers(), placement);
  const auto catalogue = ExpertCatalogue::build(fake.checkpoint).value();
  const std::vector<test::MemoryReader::File> none;
  test::MemoryReader reader({}, none, 1);
  return widest_slot(catalogue, reader);
}

class ExpertStoreLayouts
    : public ::testing::TestWithParam<std::tuple<Placement, std::size_t, int>> {};

TEST_P(ExpertStoreLayouts, GivesTheFilesBytesAndCountsExactly) {
  const auto [placement, alignment, slots] = GetParam();
  StoreBench bench(ragged_layers(), placement, alignment, one_slot(placement) * slots);
  ASSERT_NE(bench.store, nullptr);
  std::mt19937 random(3);
  std::uint64_t requests = 0, expected_bytes = 0;
  constexpr std::size_t kTopK = 4;
  for (int pass = 0; pass < 24; ++pass) {
    for (const ExpertLayer& layer : bench.catalogue.layers()) {
      const bool prefill = pass % 8 == 0;
      const auto experts = choose(random, layer.experts, prefill ? layer.experts : kTopK);
      requests += experts.size();
      for (const std::uint32_t expert : experts) {
        if (!bench.store->resident({layer.layer, expert})) {
          // May still be evicted (never: hits are pinned first) or loaded once.
          expected_bytes += bench.sector_bytes(layer.layer, expert);
        }
      }
      const Status status = bench.visit(layer.layer, experts);
      ASSERT_TRUE(status.ok()) << status.message();
    }
  }
  EXPECT_TRUE(bench.reader->violations.empty()) << bench.reader->violations.front();
  const ExpertStatistics statistics = bench.store->statistics();
  EXPECT_EQ(statistics.requests, requests);
  EXPECT_EQ(statistics.hits + statistics.loads, requests);
  EXPECT_EQ(statistics.bytes_read, expected_bytes);
  EXPECT_GT(statistics.loads, 0u);
  if (slots >= 16) {
    EXPECT_GT(statistics.hits, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExpertStoreLayouts,
                         ::testing::Combine(::testing::Values(Placement::kStacked,
                                                              Placement::kApart,
                                                              Placement::kAdjacent),
                                            ::testing::Values(1, 512, 4096),
                                            ::testing::Values(1, 2, 3, 4, 8, 30, 60)));

TEST(ExpertStore, SubmitsALayersMissesAtOnceAndHandsHitsFirst) {
  StoreBench bench(ragged_layers(), Placement::kStacked, 512, one_slot(Placement::kStacked) * 16);
  ASSERT_TRUE(bench.visit(0, {1, 2, 3}).ok());
  EXPECT_EQ(bench.reader->submissions, 1u);
  EXPECT_EQ(bench.reader->reads, 9u);
  const std::vector<std::uint32_t> experts = {7, 2, 9, 1};
  ASSERT_TRUE(bench.store->begin(0, experts).ok());
  EXPECT_EQ(bench.reader->submissions, 2u);
  EXPECT_EQ(bench.reader->under_way(), 6u);
  const std::uint64_t waited = bench.store->statistics().wait_nanoseconds;
  const auto ready = bench.store->ready();
  ASSERT_TRUE(ready.ok());
  EXPECT_THAT(std::vector<std::uint32_t>(ready->begin(), ready->end()),
              ::testing::ElementsAre(1, 3));
  EXPECT_GT(bench.reader->under_way(), 0u);
  EXPECT_EQ(bench.store->statistics().wait_nanoseconds, waited);
  bench.store->end();
}

TEST(ExpertStore, AdjacentMatricesAreOneRead) {
  StoreBench bench({{0, 8}}, Placement::kAdjacent, 512, 1 << 20);
  ASSERT_TRUE(bench.visit(0, {0, 5}).ok());
  EXPECT_EQ(bench.reader->reads, 2u);
}

TEST(ExpertStore, HoldsEverythingAtFullCapacity) {
  for (const Placement placement : {Placement::kStacked, Placement::kApart, Placement::kAdjacent}) {
    for (const std::size_t alignment : {1, 512, 4096}) {
      const auto fake = test::make_checkpoint(ragged_layers(), placement);
      const auto catalogue = ExpertCatalogue::build(fake.checkpoint).value();
      const std::vector<test::MemoryReader::File> none;
      const test::MemoryReader unopened({}, none, alignment);
      StoreBench bench(ragged_layers(), placement, alignment,
                       ExpertStore::full_capacity(catalogue, unopened));
      for (int pass = 0; pass < 2; ++pass) {
        for (const ExpertLayer& layer : catalogue.layers()) {
          ASSERT_TRUE(bench.visit(layer.layer, test::all_experts(layer.experts)).ok());
        }
      }
      EXPECT_EQ(bench.store->statistics().loads, catalogue.total_experts());
      EXPECT_EQ(bench.store->statistics().hits, catalogue.total_experts());
    }
  }
}

TEST(ExpertStore, MinimumCapacityKeepsADecodeStepInOneSubmission) {
  const auto fake = test::make_checkpoint(ragged_layers(), Placement::kStacked);
  const auto catalogue = ExpertCatalogue::build(fake.checkpoint).value();
  const std::vector<test::MemoryReader::File> none;
  const test::MemoryReader unopened({}, none, 1);
  constexpr std::size_t kTopK = 4;
  const std::size_t capacity = ExpertStore::minimum_capacity(catalogue, unopened, kTopK);
  std::uint64_t widest = 0;
  for (const ExpertLayer& layer : catalogue.layers())
    widest = std::max(widest, layer.expert_bytes());
  EXPECT_LE(capacity, 2 * kTopK * (widest + 3 * 2 * 4096));
  StoreBench bench(ragged_layers(), Placement::kStacked, 4096, capacity);
  std::mt19937 random(5);
  for (int pass = 0; pass < 50; ++pass) {
    for (const ExpertLayer& layer : catalogue.layers()) {
      const std::uint64_t before = bench.reader->submissions;
      ASSERT_TRUE(bench.visit(layer.layer, choose(random, layer.experts, kTopK)).ok());
      EXPECT_LE(bench.reader->submissions, before + 1);
    }
  }
}

TEST(ExpertStore, StreamsALayerThatIsWiderThanTheCache) {
  StoreBench bench({{0, 128}}, Placement::kStacked, 512, one_slot(Placement::kStacked) * 8);
  bench.reader->most_per_reap = 1;
  const auto experts = test::all_experts(128);
  ASSERT_TRUE(bench.store->begin(0, experts).ok());
  std::size_t handed = 0, idle = 0;
  while (true) {
    const auto ready = bench.store->ready();
    ASSERT_TRUE(ready.ok()) << ready.status().message();
    if (ready->empty()) break;
    handed += ready->size();
    // The engine computes here.
    if (handed < experts.size() && bench.reader->under_way() == 0) idle += 1;
    const std::vector<std::uint32_t> group(ready->begin(), ready->end());
    ASSERT_TRUE(bench.store->release(group).ok());
  }
  bench.store->end();
  EXPECT_EQ(handed, 128u);
  EXPECT_EQ(idle, 0u) << "the disk had nothing to do during the computation of a group";
}

TEST(ExpertStore, RefusesACacheThatHoldsNoExpert) {
  const auto fake = test::make_checkpoint(ragged_layers(), Placement::kStacked);
  const auto catalogue = ExpertCatalogue::build(fake.checkpoint).value();
  test::MemoryReader reader(fake.checkpoint.files, fake.files, 512);
  const auto store = ExpertStore::create(catalogue, reader, {100000, "auto", {}});
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().code(), ErrorCode::kBudget);
  EXPECT_THAT(store.status().message(), HasSubstr("the widest needs "));
  const auto policy = ExpertStore::create(catalogue, reader, {1 << 24, "fifo", {}});
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), ErrorCode::kInvalidArgument);
}

TEST(ExpertStore, RefusesWrongVisits) {
  StoreBench bench(ragged_layers(), Placement::kStacked, 512, 1 << 22);
  EXPECT_EQ(bench.visit(2, {0}).code(), ErrorCode::kInvalidArgument);        // dense
  EXPECT_EQ(bench.visit(4, {12}).code(), ErrorCode::kInvalidArgument);       // no such expert
  EXPECT_EQ(bench.visit(0, {3, 4, 3}).code(), ErrorCode::kInvalidArgument);  // twice
  EXPECT_FALSE(bench.store->ready().ok());
  EXPECT_TRUE(bench.visit(0, {3, 4}).ok());
  ASSERT_TRUE(bench.store->begin(0, std::vector<std::uint32_t>{3, 4}).ok());
  EXPECT_FALSE(bench.store->begin(0, std::vector<std::uint32_t>{5}).ok());
  EXPECT_FALSE(bench.store->release(std::vector<std::uint32_t>{0}).ok());  // not handed out
  bench.store->end();
  bench.store->end();
  EXPECT_TRUE(bench.visit(0, {}).ok());
}

/// Two experts fit, and the policy is the one that knows nothing but scores.
TEST(ExpertStore, ScoresReachThePolicy) {
  const auto fake =
      std::make_shared<test::FakeCheckpoint>(test::make_checkpoint({{0, 4}}, Placement::kStacked));
  const auto catalogue = ExpertCatalogue::build(fake->checkpoint).value();
  const std::vector<std::uint32_t> both{0, 1}, other{2};
  for (const std::uint32_t weak : both) {
    const test::MemoryReader unopened({}, {}, 1);
    StoreBench bench(fake, 1, ExpertStore::minimum_capacity(catalogue, unopened, 1), "mrs");
    std::vector<float> scores{0.9f, 0.9f};
    scores[weak] = 0.1f;
    for (const bool first : {true, false}) {
      ASSERT_TRUE(first ? bench.store->begin(0, both, scores).ok()
                        : bench.store->begin(0, other, std::vector{1.0f}).ok());
      for (auto ready = bench.store->ready(); ready.ok() && !ready->empty();
           ready = bench.store->ready()) {
        ASSERT_TRUE(bench.store->release(*ready).ok());
      }
      bench.store->end();
    }
    EXPECT_FALSE(bench.store->resident({0, weak}));
    EXPECT_TRUE(bench.store->resident({0, 1 - weak}));
    EXPECT_EQ(bench.store->begin(0, both, std::vector{1.0f}).code(), ErrorCode::kInvalidArgument);
  }
}

TEST(ExpertStore, AsksForReleaseRatherThanHang) {
  StoreBench bench({{0, 8}}, Placement::kStacked, 512, one_slot(Placement::kStacked) * 2);
  ASSERT_TRUE(bench.store->begin(0, test::all_experts(8)).ok());
  Status status;
  for (int call = 0; call < 8 && status.ok(); ++call) status = bench.store->ready().status();
  EXPECT_EQ(status.code(), ErrorCode::kBudget);
  bench.store->end();
  EXPECT_TRUE(bench.visit(0, test::all_experts(8)).ok());
}

TEST(ExpertStore, EndMidVisitLeavesNothingUnderWay) {
  StoreBench bench(ragged_layers(), Placement::kApart, 512, one_slot(Placement::kApart) * 6);
  std::mt19937 random(11);
  for (int round = 0; round < 100; ++round) {
    const ExpertLayer& layer = bench.catalogue.layers()[random() % 4];
    ASSERT_TRUE(bench.store->begin(layer.layer, choose(random, layer.experts, 8)).ok());
    for (unsigned call = random() % 4; call > 0; --call) {
      const auto ready = bench.store->ready();
      ASSERT_TRUE(ready.ok());
      const std::vector<std::uint32_t> group(ready->begin(), ready->end());
      ASSERT_TRUE(bench.store->release(group).ok());
    }
    bench.store->end();
    EXPECT_EQ(bench.reader->under_way(), 0u);
    ASSERT_TRUE(bench.visit(layer.layer, test::all_experts(layer.experts)).ok());
  }
  EXPECT_TRUE(bench.reader->violations.empty());
}

class ExpertStoreFaults : public ::testing::TestWithParam<std::tuple<ReadFault, int>> {};

TEST_P(ExpertStoreFaults, TheNthReadFailsAndTheNextVisitIsRight) {
  const auto [fault, slots] = GetParam();
  const std::vector<std::pair<std::uint32_t, std::vector<std::uint32_t>>> visits = {
      {0, {1, 5, 9, 3}},
      {1, {0, 2, 4, 6}},
      {3, {15, 14, 1, 0}},
      {4, test::all_experts(12)},
      {0, {1, 5, 2, 8}}};
  const auto fake = std::make_shared<test::FakeCheckpoint>(
      test::make_checkpoint(ragged_layers(), Placement::kApart));
  const std::size_t capacity = one_slot(Placement::kApart) * slots;
  std::uint64_t reads = 1;
  for (std::uint64_t nth = 0; nth < reads; ++nth) {
    StoreBench bench(fake, 512, capacity, "auto", static_cast<unsigned>(nth));
    bench.reader->fault = fault;
    bench.reader->fault_at = nth;
    int failures = 0;
    for (const auto& [layer, experts] : visits) {
      Status status = bench.visit(layer, experts);
      if (status.ok()) continue;
      failures += 1;
      EXPECT_THAT(status.message(), HasSubstr("layer " + std::to_string(layer) + ", expert "));
      EXPECT_THAT(status.message(), ::testing::ContainsRegex("model-[0-2]\\.bin at offset [0-9]+"));
      EXPECT_THAT(status.message(), HasSubstr("the disk is tired"));
      status = bench.visit(layer, experts);  // the fault is over: everything must be right
      ASSERT_TRUE(status.ok()) << status.message();
    }
    EXPECT_EQ(failures, fault == ReadFault::kDelay ? 0 : 1) << "read " << nth;
    EXPECT_TRUE(bench.reader->violations.empty());
    // No slot leaked: a layer that takes the whole cache still streams through, and statistics add
    // up.
    for (const ExpertLayer& layer : bench.catalogue.layers()) {
      ASSERT_TRUE(bench.visit(layer.layer, test::all_experts(layer.experts)).ok());
    }
    if (nth == 0) {
      StoreBench sound(fake, 512, capacity);
      for (const auto& [layer, experts] : visits) ASSERT_TRUE(sound.visit(layer, experts).ok());
      reads = sound.reader->reads;
      ASSERT_GT(reads, 60u);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExpertStoreFaults,
                         ::testing::Combine(::testing::Values(ReadFault::kFail, ReadFault::kShort,
                                                              ReadFault::kDelay),
                                            ::testing::Values(1, 5, 20)));

TEST(ExpertStore, ARefusedSubmissionFailsTheVisitAndLeaksNothing) {
  StoreBench bench(ragged_layers(), Placement::kStacked, 512, one_slot(Placement::kStacked) * 4);
  bench.reader->refuse_submissions = true;
  Status status = bench.visit(0, {1, 2, 3, 4});
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  bench.reader->refuse_submissions = false;
  EXPECT_TRUE(bench.visit(0, {1, 2, 3, 4}).ok());

  // While streaming: the refusal comes out of `release`.
  ASSERT_TRUE(bench.store->begin(1, test::all_experts(16)).ok());
  const auto ready = bench.store->ready();
  ASSERT_TRUE(ready.ok());
  const std::vector<std::uint32_t> group(ready->begin(), ready->end());
  bench.reader->refuse_submissions = true;
  EXPECT_EQ(bench.store->release(group).code(), ErrorCode::kIo);
  EXPECT_EQ(bench.store->ready().status().code(), ErrorCode::kIo);
  bench.store->end();
  bench.reader->refuse_submissions = false;
  EXPECT_TRUE(bench.visit(1, test::all_experts(16)).ok());
}

TEST(ExpertStore, AReaderThatLosesReadsIsAnErrorNotAHang) {
  StoreBench bench(ragged_layers(), Placement::kStacked, 512, one_slot(Placement::kStacked) * 4);
  bench.reader->lose_reads = true;
  const Status status = bench.visit(0, {1, 2});
  EXPECT_EQ(status.code(), ErrorCode::kInternal);
  bench.reader->lose_reads = false;
  EXPECT_TRUE(bench.visit(0, {1, 2}).ok());
}

}  // namespace
}  // namespace sluice

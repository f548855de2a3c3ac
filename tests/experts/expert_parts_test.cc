// Experts that are read in parts: a visit gets all that it asks for of each and nothing of another,
// however narrow the cache, whatever arrives when, and whichever read fails.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "io/reader_options.h"
#include "tests/experts/allocation_count.h"
#include "tests/experts/expert_parts.h"

namespace sluice {
namespace {

using test::kBits;
using ::testing::HasSubstr;

class ExpertParts : public test::ExpertParts {
 protected:
  using test::ExpertParts::ExpertParts;
  void visit_in_caches_of_every_size();
};

TEST_F(ExpertParts, EveryPartIsThoseGroupsThatAWidthAdds) {
  for (const ExpertLayer& layer : catalogue_.layers()) {
    constexpr std::size_t kParts[] = {6, 6, 3, 6, 3, 5};
    ASSERT_EQ(layer.parts(), kParts[layer.layer]);
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      for (std::size_t part = 0; part < layer.parts(); ++part) {
        const auto narrower = ExpertCatalogue::build(
            checkpoint_, part == 0 ? layer.widths[0] : layer.widths[part - 1]);
        const auto wider = ExpertCatalogue::build(checkpoint_, layer.widths[part]);
        ASSERT_TRUE(narrower.ok() && wider.ok());
        const FileRange& range = layer.part(expert, part)[0];
        const FileRange& all = wider->find(layer.layer)->ranges[expert][0];
        const FileRange& less = narrower->find(layer.layer)->ranges[expert][0];
        EXPECT_EQ(range.offset + range.bytes, all.offset + all.bytes);
        EXPECT_GE(range.offset, part == 0 ? all.offset : less.offset + less.bytes);
        EXPECT_EQ(layer.blocks[expert * layer.parts() + part].size(), 1u);
      }
    }
  }
  EXPECT_FALSE(catalogue_.exact());
}

void ExpertParts::visit_in_caches_of_every_size() {
  const std::size_t least = one_expert(), full = all_experts();
  std::mt19937 random(3);
  for (unsigned seed = 1; seed <= 24; ++seed) {
    const std::size_t alignments[] = {1, 512, 4096};
    const std::size_t alignment = alignments[seed % 3];
    open(least + (full - least) * (seed % 8) / 7, alignment, seed);
    ASSERT_TRUE(store_ != nullptr);
    visit_at_random(random);
    EXPECT_EQ(reader_->under_way(), 0u);
    EXPECT_THAT(reader_->violations, ::testing::IsEmpty());
    const ExpertStatistics statistics = store_->statistics();
    EXPECT_LE(statistics.hits, statistics.requests);
    if (seed % 8 == 7) {
      // All fit: no part is read twice.
      std::size_t parts = 0;
      for (const ExpertLayer& each : catalogue_.layers()) parts += each.experts * each.parts();
      EXPECT_LE(statistics.loads, parts);
    }
  }
}

TEST_F(ExpertParts, AnyVisitGetsWhatItAsksFor) { visit_in_caches_of_every_size(); }

class RestingParts : public ExpertParts {
 protected:
  RestingParts() : ExpertParts(test::kRestingWidths) {}
};

TEST_F(RestingParts, AnyVisitGetsWhatThereIs) { visit_in_caches_of_every_size(); }

TEST_F(RestingParts, NothingIsReadOfWhatIsNotThere) {
  open(all_experts());
  ASSERT_TRUE(visit(0, {1}, {8}).ok());
  EXPECT_EQ(store_->statistics().loads, 1u);
  ASSERT_TRUE(visit(0, {1, 2}, {}).ok());
  EXPECT_EQ(store_->statistics().loads, 5u);
  // Layer 1's widest expert has four bits.
  EXPECT_EQ(catalogue_.find(1)->widths, (std::vector<std::uint8_t>{2, 3, 4}));
  ASSERT_TRUE(visit(1, {0, 1, 2}, {8, 8, 8}).ok());
  EXPECT_EQ(store_->statistics().loads, 5u + 2 + 3 + 1);
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : checkpoint_.tensors) {
    if (!tensor.nested) continue;
    for (const FileRange& group : tensor.nested->groups) bytes += group.bytes;
  }
  EXPECT_EQ(catalogue_.total_bytes(), bytes);
  EXPECT_EQ(catalogue_.resting_widths(),
            (std::map<unsigned, std::uint64_t>{{2, 4}, {3, 3}, {4, 5}, {5, 1}, {6, 4}, {8, 1}}));
}

// What a part's slot held may be given up while others' reads are under way: a thread sanitizer
// sees a slot that is read into while anybody looks at it.
TEST_F(ExpertParts, ThreadsReadThemWhileOthersAreLookedAt) {
  const std::size_t least = one_expert(), full = all_experts();
  std::mt19937 random(5);
  for (unsigned seed = 0; seed < 8; ++seed) {
    ReaderOptions options;
    options.depth = 8;
    options.piece_bytes = 512;  // so that a part is several reads
    options.direct = seed % 2 == 0;
    auto reader = make_pread_reader(options);
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    auto store = ExpertStore::create(catalogue_, **reader,
                                     {.capacity_bytes = least + (full - least) * (seed / 2) / 3,
                                      .files = {},
                                      .judge_guesses = false});
    ASSERT_TRUE(store.ok()) << store.status().message();
    store_ = std::move(*store);
    visit_at_random(random);
    store_.reset();  // before its reader
  }
}

TEST_F(ExpertParts, AWiderNeedReadsWhatIsMissing) {
  open(all_experts());
  const auto loads = [&] { return store_->statistics().loads; };
  ASSERT_TRUE(visit(0, {1}, {2}).ok());
  EXPECT_EQ(loads(), 1u);
  ASSERT_TRUE(visit(0, {1}, {4}).ok());
  EXPECT_EQ(loads(), 3u);
  ASSERT_TRUE(visit(0, {1}, {3}).ok());
  EXPECT_EQ(loads(), 3u);
  EXPECT_EQ(store_->statistics().hits, 1u);
  ASSERT_TRUE(visit(0, {1}, {}).ok());
  EXPECT_EQ(loads(), 6u);
  EXPECT_TRUE(store_->resident({0, 1}));
  EXPECT_EQ(store_->hot_set().experts.size(), 1u);
}

TEST_F(ExpertParts, AVisitThatIsWiderThanAnyBeforeAllocatesNothing) {
  open(all_experts(), 512, 1, "lru");
  test::FakeDevice device;
  const std::vector<std::uint32_t> experts = {0, 1, 2};
  std::uint64_t counted = 0;
  for (const std::uint8_t width : {std::uint8_t{2}, std::uint8_t{8}}) {
    const std::vector<std::uint8_t> bits(experts.size(), width);
    for (const std::uint32_t layer : {0u, 1u}) {
      const std::uint64_t before = test::allocation_count();
      bool ok = store_->begin(layer, experts, {}, bits).ok();
      while (ok) {
        const auto ready = store_->ready();
        ok = ready.ok() && !ready->empty();
        if (!ok) break;
        ok = store_->prepare(*ready, device).ok() && store_->release(*ready).ok();
      }
      store_->end();
      if (width == 8) counted += test::allocation_count() - before;
    }
  }
  EXPECT_EQ(counted, 0u);
  EXPECT_EQ(store_->statistics().loads, 2u * 3 * 6);
}

TEST_F(ExpertParts, TheNthReadFailsAndTheNextVisitIsRight) {
  const std::size_t capacity = 2 * one_expert();
  std::uint64_t reads = 1;
  for (const test::ReadFault fault :
       {test::ReadFault::kFail, test::ReadFault::kShort, test::ReadFault::kDelay}) {
    for (std::uint64_t nth = 0; nth < reads; ++nth) {
      open(capacity, 512, static_cast<unsigned>(nth));
      reader_->fault = fault;
      reader_->fault_at = nth;
      int failures = 0;
      for (const std::uint32_t layer : {0u, 1u, 0u, 3u}) {
        const std::vector<std::uint8_t> bits = {8, 3, 5};
        const Status status = visit(layer, {2, 0, 1}, bits);
        if (status.ok()) continue;
        failures += 1;
        EXPECT_THAT(status.message(), HasSubstr("layer " + std::to_string(layer) + ", expert "));
        EXPECT_THAT(status.message(), HasSubstr("the disk is tired"));
        ASSERT_TRUE(visit(layer, {2, 0, 1}, bits).ok());
      }
      EXPECT_EQ(failures, fault == test::ReadFault::kDelay ? 0 : 1) << "read " << nth;
      EXPECT_THAT(reader_->violations, ::testing::IsEmpty());
      reads = std::max(reads, std::min<std::uint64_t>(reader_->reads, 40));
    }
  }
}

TEST_F(ExpertParts, ADamagedPartIsNamedAndTheOthersGoOn) {
  for (std::size_t part = 0; part < 6; ++part) {
    const FileRange range = catalogue_.find(0)->part(1, part)[0];
    std::byte& byte = files_[0][range.offset + range.bytes / 2];
    byte ^= std::byte{4};
    open(4 * one_expert());
    for (std::size_t width = 0; width < 6; ++width) {
      const Status status = visit(0, {0, 1, 2}, {8, kBits[width], 2});
      EXPECT_EQ(status.ok(), width < part) << status.message();
      if (status.ok()) continue;
      EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
      EXPECT_THAT(status.message(), HasSubstr("layer 0, expert 1"));
      EXPECT_TRUE(visit(0, {0, 2}, {8, 2}).ok());
    }
    byte ^= std::byte{4};
    EXPECT_TRUE(visit(0, {0, 1, 2}, {}).ok());  // what was damaged was given up
  }
}

TEST_F(ExpertParts, RefusesWidthsThatAreNotOneForEach) {
  open(4 * one_expert());
  const std::vector<std::uint32_t> experts = {0, 1};
  const std::vector<std::uint8_t> bits = {2};
  const Status status = store_->begin(0, experts, {}, bits);
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("1 widths for 2 experts"));
}

}  // namespace
}  // namespace sluice

// Experts that are read in parts: a visit gets all that it asks for of each and nothing of another,
// however narrow the cache, whatever arrives when, and whichever read fails.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "experts/expert_store.h"
#include "formats/store_format.h"
#include "io/reader_options.h"
#include "tests/experts/allocation_count.h"
#include "tests/experts/fake_device.h"
#include "tests/experts/memory_reader.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/nested_source.h"
#include "tests/support/written_store.h"

namespace sluice {
namespace {

using test::NestedSource;
using ::testing::HasSubstr;

constexpr std::uint8_t kBits[] = {2, 3, 4, 5, 6, 8};

/// Shares out what there is to check between the caller's thread and another.
class TwoThreads final : public test::FakeDevice {
 public:
  void share_out(std::size_t items, const std::function<void(std::size_t)>& body) override {
    const auto every_other = [&](std::size_t first) {
      for (std::size_t item = first; item < items; item += 2) body(item);
    };
    std::thread other(every_other, 1);
    every_other(0);
    other.join();
  }
};

class ExpertParts : public ::testing::Test {
 protected:
  ExpertParts() : ExpertParts({}) {}
  /// Experts that rest at these widths, as StoreChoice has them.
  explicit ExpertParts(const std::map<std::uint32_t, std::vector<std::uint8_t>>& widths) {
    const NestedSource source(folder_.path("source.bin"));
    const auto plan =
        plan_store(source.checkpoint, {.nest = [](const std::string&) { return true; },
                                       .widths = widths,
                                       .keep_floats = widths.empty()});
    const std::string bytes = test::written_store(*plan, /*seed=*/7);
    auto store = open_checkpoint(folder_.write("a.slc", bytes));
    EXPECT_TRUE(store.ok()) << store.status().message();
    if (store.ok()) checkpoint_ = std::move(*store);
    const auto* const first = reinterpret_cast<const std::byte*>(bytes.data());
    files_ = {{first, first + bytes.size()}};
    auto catalogue = ExpertCatalogue::build(checkpoint_, kAutoWidth);
    EXPECT_TRUE(catalogue.ok()) << catalogue.status().message();
    if (catalogue.ok()) catalogue_ = std::move(*catalogue);
  }

  void open(std::size_t capacity, std::size_t alignment = 512, unsigned seed = 1,
            const char* policy = "auto") {
    store_.reset();  // it forgets its memory in the reader
    reader_ = std::make_unique<test::MemoryReader>(checkpoint_.files, files_, alignment, seed);
    auto store = ExpertStore::create(
        catalogue_, *reader_,
        {.capacity_bytes = capacity, .policy = policy, .files = {}, .judge_guesses = false});
    ASSERT_TRUE(store.ok()) << store.status().message();
    store_ = std::move(*store);
  }

  const NestedRanges& planes(std::uint32_t layer, std::size_t matrix) const {
    return *checkpoint_.tensors.at(expert_tensor_name(layer, kExpertMatrices[matrix])).nested;
  }

  /// Whether these are the expert's groups up to that width, as the file has them.
  bool right(std::uint32_t layer, std::uint32_t expert, const ExpertWeights& weights,
             unsigned bits) const {
    const WeightMatrix* const matrices[] = {&weights.gate, &weights.up, &weights.down};
    for (std::size_t i = 0; i < 3; ++i) {
      const NestedRanges& nested = planes(layer, i);
      const NestedForm& form = *nested.form;
      const NestedView& view = matrices[i]->nested;
      if (view.form != &form || view.width != std::min(bits, nested.width(expert))) return false;
      for (std::size_t group = 0; group < form.groups_of(view.width); ++group) {
        const FileRange& range = nested.groups[expert * form.group_count + group];
        if (std::memcmp(matrices[i]->data + view.at[group], files_[0].data() + range.offset,
                        range.bytes) != 0) {
          return false;
        }
      }
    }
    return true;
  }

  /// A visit as the engine makes it; every expert once, at its width and at all that are narrower.
  Status visit(std::uint32_t layer, const std::vector<std::uint32_t>& experts,
               const std::vector<std::uint8_t>& bits, const std::vector<LikelyExpert>& next = {}) {
    SLUICE_TRY(store_->begin(layer, experts, {}, bits));
    if (!next.empty()) store_->expect((layer + 1) % NestedSource::kLayers, next, Reach::kGap);
    const std::vector<std::uint8_t>& widths = catalogue_.find(layer)->widths;
    std::vector<int> seen(experts.size());
    Status status;
    while (status.ok()) {
      const auto ready = store_->ready();
      status = ready.status();
      if (!status.ok() || ready->empty()) break;
      const std::vector<std::uint32_t> group(ready->begin(), ready->end());
      status = store_->prepare(group, device_);
      for (std::size_t i = 0; status.ok() && i < group.size(); ++i) {
        seen[group[i]] += 1;
        const unsigned wanted =
            std::min<unsigned>(bits.empty() ? 8 : bits[group[i]], widths.back());
        for (const unsigned width : widths) {
          if (width > wanted) break;
          EXPECT_TRUE(right(layer, experts[group[i]], store_->weights(group[i], width), width))
              << "layer " << layer << ", expert " << experts[group[i]] << ", " << width << " bits";
        }
      }
      if (status.ok()) status = store_->release(group);
    }
    store_->end();
    EXPECT_EQ(std::ranges::count(seen, 1) == std::ssize(seen), status.ok());
    return status;
  }

  /// Any experts of each layer in turn, as wide as it comes, with guesses that are often wrong.
  void visit_at_random(std::mt19937& random) {
    for (unsigned turn = 0; turn < 120; ++turn) {
      const std::uint32_t layer = turn % NestedSource::kLayers;
      std::vector<std::uint32_t> experts = {0, 1, 2};
      std::shuffle(experts.begin(), experts.end(), random);
      experts.resize(1 + random() % experts.size());
      std::vector<std::uint8_t> bits;
      if (random() % 8 != 0) {
        for (std::size_t i = 0; i < experts.size(); ++i) bits.push_back(kBits[random() % 6]);
      }
      std::vector<LikelyExpert> next;
      if (random() % 2 == 0) next.push_back({static_cast<std::uint32_t>(random() % 3), 0.99f});
      const Status status = visit(layer, experts, bits, next);
      ASSERT_TRUE(status.ok()) << status.message();
    }
    store_->settle();
  }

  void visit_in_caches_of_every_size();

  std::size_t all_experts() const {
    const test::MemoryReader reader(checkpoint_.files, files_, 512);
    return ExpertStore::full_capacity(catalogue_, reader);
  }

  /// Of the widest expert, whatever the alignment.
  std::size_t one_expert() const {
    std::size_t least = 0;
    for (std::size_t bytes = 4096; least == 0; bytes += 4096) {
      test::MemoryReader reader(checkpoint_.files, files_, 4096);
      if (ExpertStore::create(catalogue_, reader, {.capacity_bytes = bytes, .files = {}}).ok()) {
        least = bytes;
      }
    }
    return least;
  }

  test::TemporaryFolder folder_;
  Checkpoint checkpoint_;
  std::vector<std::vector<std::byte>> files_;
  ExpertCatalogue catalogue_;
  std::unique_ptr<test::MemoryReader> reader_;
  std::unique_ptr<ExpertStore> store_;
  TwoThreads device_;
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
  RestingParts() : ExpertParts({{0, {8, 2, 5}}, {1, {3, 4, 2}}, {2, {4, 2, 3}}, {3, {2, 6, 3}}}) {}
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

#pragma once
// Experts of every form in a store in memory, to be read in parts, and visits that hold what they
// get against the file.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "experts/expert_store.h"
#include "formats/store_format.h"
#include "tests/experts/fake_device.h"
#include "tests/experts/memory_reader.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/nested_source.h"
#include "tests/support/written_store.h"

namespace sluice::test {

inline constexpr std::uint8_t kBits[] = {2, 3, 4, 5, 6, 8};

/// Of NestedSource's layers, some of each kind: narrower than their sources.
inline const std::map<std::uint32_t, std::vector<std::uint8_t>> kRestingWidths = {
    {0, {8, 2, 5}}, {1, {3, 4, 2}}, {2, {4, 2, 3}}, {3, {2, 6, 3}}};

/// Shares out what there is to check between the caller's thread and another.
class TwoThreads final : public FakeDevice {
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
    const std::string bytes = written_store(*plan, /*seed=*/7);
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
    reader_ = std::make_unique<MemoryReader>(checkpoint_.files, files_, alignment, seed);
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

  /// Of what the visit has handed out: no more and no less than was asked for, and of that whatever
  /// is narrower.
  bool as_asked(std::uint32_t layer, std::uint32_t expert, std::uint32_t index,
                unsigned bits) const {
    const ExpertLayer& where = *catalogue_.find(layer);
    const unsigned widest = where.widths[where.parts_of(bits) - 1];
    for (const unsigned width : where.widths) {
      if (width > widest) break;
      if (!right(layer, expert, store_->weights(index, width), width)) return false;
    }
    return right(layer, expert, store_->weights(index), widest);
  }

  /// A visit as the engine makes it; every expert once, at its width and at all that are narrower.
  Status visit(std::uint32_t layer, const std::vector<std::uint32_t>& experts,
               const std::vector<std::uint8_t>& bits, const std::vector<LikelyExpert>& next = {}) {
    SLUICE_TRY(store_->begin(layer, experts, {}, bits));
    if (!next.empty()) store_->expect((layer + 1) % NestedSource::kLayers, next, Reach::kGap);
    const auto asked = [&](std::uint32_t index) { return bits.empty() ? 8u : bits[index]; };
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
        EXPECT_TRUE(as_asked(layer, experts[group[i]], group[i], asked(group[i])))
            << "layer " << layer << ", expert " << experts[group[i]];
      }
      // Whatever arrives meanwhile, it stays that until it is given back.
      std::this_thread::yield();
      for (std::size_t i = 0; status.ok() && i < group.size(); ++i) {
        EXPECT_TRUE(as_asked(layer, experts[group[i]], group[i], asked(group[i])))
            << "layer " << layer << ", expert " << experts[group[i]];
      }
      if (status.ok()) status = store_->release(group);
    }
    store_->end();
    EXPECT_EQ(std::ranges::count(seen, 1) == std::ssize(seen), status.ok());
    return status;
  }

  /// Any experts, as wide as it comes, and a guess that is often wrong.
  struct Wishes {
    explicit Wishes(std::mt19937& random) {
      std::shuffle(experts.begin(), experts.end(), random);
      experts.resize(1 + random() % experts.size());
      if (random() % 8 != 0) {
        for (std::size_t i = 0; i < experts.size(); ++i) bits.push_back(kBits[random() % 6]);
      }
      if (random() % 2 == 0) next.push_back({static_cast<std::uint32_t>(random() % 3), 0.99f});
    }
    std::vector<std::uint32_t> experts = {0, 1, 2};
    std::vector<std::uint8_t> bits;
    std::vector<LikelyExpert> next;
  };

  Status visit(std::uint32_t layer, const Wishes& wishes) {
    return visit(layer, wishes.experts, wishes.bits, wishes.next);
  }

  /// Of each layer in turn.
  void visit_at_random(std::mt19937& random) {
    for (unsigned turn = 0; turn < 120; ++turn) {
      const Status status = visit(turn % NestedSource::kLayers, Wishes(random));
      ASSERT_TRUE(status.ok()) << status.message();
    }
    store_->settle();
  }

  std::size_t all_experts() const {
    const MemoryReader reader(checkpoint_.files, files_, 512);
    return ExpertStore::full_capacity(catalogue_, reader);
  }

  /// Of the widest expert, whatever the alignment.
  std::size_t one_expert() const {
    std::size_t least = 0;
    for (std::size_t bytes = 4096; least == 0; bytes += 4096) {
      MemoryReader reader(checkpoint_.files, files_, 4096);
      if (ExpertStore::create(catalogue_, reader, {.capacity_bytes = bytes, .files = {}}).ok()) {
        least = bytes;
      }
    }
    return least;
  }

  TemporaryFolder folder_;
  Checkpoint checkpoint_;
  std::vector<std::vector<std::byte>> files_;
  ExpertCatalogue catalogue_;
  std::unique_ptr<MemoryReader> reader_;
  std::unique_ptr<ExpertStore> store_;
  TwoThreads device_;
};

}  // namespace sluice::test

// Experts in parts from a disk that does as it likes: whatever arrives when, fails or is damaged,
// and wherever a pass is broken off, an expert that is handed out has exactly the width that was
// asked for, of bytes that are the file's.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cache/cache_policy.h"
#include "tests/experts/expert_parts.h"
#include "tests/support/unruly_reader.h"

namespace sluice {
namespace {

using test::NestedSource;
using ::testing::HasSubstr;

/// Every policy, with all of the experts and with those that rest.
class PartsUnderStress : public test::ExpertParts,
                         public ::testing::WithParamInterface<std::tuple<std::string, bool>> {
 protected:
  PartsUnderStress()
      : ExpertParts(std::get<bool>(GetParam())
                        ? test::kRestingWidths
                        : std::map<std::uint32_t, std::vector<std::uint8_t>>()) {}
  // A store goes before its reader.
  ~PartsUnderStress() override { store_.reset(); }

  void open(std::size_t capacity, unsigned seed) {
    store_.reset();
    constexpr std::size_t kAlignments[] = {1, 512, 4096};
    unruly_ = std::make_unique<test::UnrulyReader>(kAlignments[seed % 3], seed,
                                                   std::chrono::microseconds(40));
    auto store = ExpertStore::create(catalogue_, *unruly_,
                                     {.capacity_bytes = capacity,
                                      .policy = std::get<std::string>(GetParam()),
                                      .files = {},
                                      .judge_guesses = seed % 4 == 0});
    ASSERT_TRUE(store.ok()) << store.status().message();
    store_ = std::move(*store);
  }

  /// What fails is named, and comes when the disk has recovered, once the copies that were damaged
  /// before are given up.
  void visit_until_it_is_right(std::uint32_t layer, const Wishes& wishes) {
    Status status = visit(layer, wishes);
    for (std::size_t tries = 0; !status.ok(); ++tries) {
      failures_ += 1;
      EXPECT_THAT(status.message(), HasSubstr("layer " + std::to_string(layer) + ", expert "));
      EXPECT_THAT(status.message(), HasSubstr(checkpoint_.files[0]));
      ASSERT_LT(tries, 20u) << status.message();
      misbehave(false);
      status = visit(layer, wishes);
    }
    misbehave(true);
  }

  void misbehave(bool on) {
    unruly_->fail_one_in(on ? 50 : 0);
    unruly_->corrupt_one_in(on ? 50 : 0);
  }

  /// Ended where it is.
  void visit_and_leave(std::uint32_t layer, const Wishes& wishes, std::mt19937& random) {
    ASSERT_TRUE(store_->begin(layer, wishes.experts, {}, wishes.bits).ok());
    for (std::size_t groups = random() % 3; groups > 0; --groups) {
      const auto ready = store_->ready();
      if (!ready.ok() || ready->empty()) break;
      if (!store_->prepare(*ready, device_).ok() || random() % 2 == 0) break;
      const std::vector<std::uint32_t> group(ready->begin(), ready->end());
      if (!store_->release(group).ok()) break;
    }
    store_->end();
  }

  /// Layers in turn, until somebody has enough.
  void pass(std::mt19937& random) {
    const bool many = random() % 4 == 0;  // rows, of which all experts are foretold
    for (std::uint32_t layer = 0; layer < NestedSource::kLayers; ++layer) {
      const Wishes wishes(random);
      if (many) {
        const std::vector<LikelyExpert> all = {{0, 1.0f}, {2, 0.9f}, {1, 0.8f}};
        store_->expect(layer, all, Reach::kAll);
      }
      if (random() % 16 == 0) visit_and_leave(layer, wishes, random);
      visit_until_it_is_right(layer, wishes);
      if (random() % 32 == 0) break;  // cancelled
    }
    store_->settle();
  }

  std::unique_ptr<test::UnrulyReader> unruly_;
  std::size_t failures_ = 0;
};

TEST_P(PartsUnderStress, AnExpertIsAsWideAsWasAskedWhateverArrivesWhen) {
  const std::size_t least = one_expert(), full = all_experts();
  std::mt19937 random(11);
  HotSet hot;
  ExpertStatistics all;
  for (unsigned seed = 0; seed < 6; ++seed) {
    open(least + (full - least) * seed / 5, seed);
    ASSERT_TRUE(store_ != nullptr);
    if (seed > 0) store_->warm(hot);
    misbehave(true);
    for (int i = 0; i < 12; ++i) pass(random);
    // What was left behind is nobody's.
    misbehave(false);
    for (std::uint32_t layer = 0; layer < NestedSource::kLayers; ++layer) {
      Wishes wishes(random);
      wishes.experts = {0, 1, 2};
      wishes.bits = {};
      visit_until_it_is_right(layer, wishes);
      misbehave(false);
    }
    store_->settle();
    all += store_->statistics();
    hot = store_->hot_set();
  }
  EXPECT_GT(failures_, 0u);
  EXPECT_GT(all.expected, 10u);
  EXPECT_GT(all.expected_rightly, 0u);
  EXPECT_GT(all.hits, 10u);
}

INSTANTIATE_TEST_SUITE_P(Policies, PartsUnderStress,
                         ::testing::Combine(::testing::ValuesIn(cache_policy_names()),
                                            ::testing::Bool()),
                         [](const auto& instance) {
                           return std::get<std::string>(instance.param) +
                                  (std::get<bool>(instance.param) ? "_resting" : "_whole");
                         });

}  // namespace
}  // namespace sluice

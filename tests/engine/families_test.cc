// What holds for the bundled model holds for every family: the smallest budget works and one byte
// less is refused; budget, threads, chunking and going back change no bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cctype>

#include "tests/engine/fixture.h"
#include "tests/engine/oracles.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using test::Conditions;

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;
constexpr std::uint32_t kOraclesVocabulary = 320;

class FamiliesTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto path = test::test_data("oracle/" + GetParam());
    if (path.empty()) GTEST_SKIP() << GetParam() << " is not in the bundled data";
    plenty_.ram = kPlenty;
    plenty_.model.context = 96;
    plenty_.path = path.string();
    tokens_ = test::some_tokens(90, 3, kOraclesVocabulary);
    reference_ = test::all_logits(plenty_, tokens_);
  }
  std::vector<float> reference_from(std::size_t token) const {
    const std::size_t vocabulary = reference_.size() / tokens_.size();
    return {reference_.begin() + static_cast<std::ptrdiff_t>(token * vocabulary), reference_.end()};
  }
  std::vector<TokenId> part(std::size_t from, std::size_t to) const {
    return {tokens_.begin() + static_cast<std::ptrdiff_t>(from),
            tokens_.begin() + static_cast<std::ptrdiff_t>(to)};
  }

  Conditions plenty_;
  std::vector<TokenId> tokens_;
  std::vector<float> reference_;
};

TEST_P(FamiliesTest, RunsUnderTheSmallestBudgetAndNotUnderLess) {
  Conditions small = plenty_;
  small.threads = 2;
  small.model.max_rows = 7;
  small.ram = test::smallest_budget(small);
  EXPECT_TRUE(test::same_bits(test::all_logits(small, tokens_), reference_));
  auto runtime = Runtime::create({.ram = small.ram - 1, .threads = 2});
  ASSERT_TRUE(runtime.ok());
  EXPECT_EQ(Model::open(**runtime, small.path, small.model).status().code(), ErrorCode::kBudget);
}

TEST_P(FamiliesTest, WhatIsReadAheadChangesNothing) {
  Conditions decoding = plenty_;
  decoding.model.max_rows = 1;
  decoding.ram = test::smallest_budget(decoding);
  auto opened = test::open(decoding);
  Session session(*opened.model);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  const ExpertStatistics statistics = opened.model->expert_statistics();
  if (opened.model->description().router.input == RouterInput::kLayerInput) {
    EXPECT_GT(statistics.expected, 0u);
    EXPECT_EQ(statistics.expected_rightly, statistics.expected);  // it is known, not guessed
  }
}

TEST_P(FamiliesTest, ThreadsAndChunkingChangeNothing) {
  for (const std::uint32_t rows : {1u, 16u, 33u}) {
    Conditions conditions = plenty_;
    conditions.threads = 3;
    conditions.model.max_rows = rows;
    EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens_), reference_)) << rows;
  }
}

TEST_P(FamiliesTest, GoingBackLeavesNoTrace) {
  auto opened = test::open(plenty_);
  Session session(*opened.model);
  const std::vector<TokenId> other = test::some_tokens(40, 8, kOraclesVocabulary);
  (void)test::all_logits(session, part(0, 30));
  (void)test::all_logits(session, other);
  session.truncate(30);  // to the end of an evaluation
  (void)test::all_logits(session, part(30, 50));
  for (const TokenId token : part(50, 60)) (void)test::all_logits(session, {token});
  session.truncate(55);  // behind the last copy of a recurrent state
  (void)test::all_logits(session, other);
  session.truncate(20);  // before it
  EXPECT_TRUE(test::same_bits(test::all_logits(session, part(20, 90)), reference_from(20)));
  session.truncate(89);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, part(89, 90)), reference_from(89)));
}

TEST_P(FamiliesTest, AStoppedEvaluationLeavesTheSessionAsItWas) {
  auto opened = test::open(plenty_);
  Session session(*opened.model);
  (void)test::all_logits(session, part(0, 40));
  for (const TokenId token : part(40, 45)) (void)test::all_logits(session, {token});
  // Stops after the first layer, when a recurrent one has moved on.
  struct Stopper : RoutingObserver {
    std::atomic<bool> stop{false};
    void routed(const Routing&) override { stop = true; }
  } stopper;
  const Status status =
      session.eval(part(45, 60), Session::Logits::kNone, [](std::size_t, std::span<const float>) {},
                   {.observer = &stopper, .cancel = &stopper.stop});
  EXPECT_EQ(status.code(), ErrorCode::kCancelled);
  EXPECT_EQ(session.length(), 45u);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, part(45, 90)), reference_from(45)));
}

std::string plain_name(const testing::TestParamInfo<std::string>& model) {
  std::string name = model.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Oracles, FamiliesTest, testing::ValuesIn(test::oracle_models()),
                         plain_name);

}  // namespace
}  // namespace sluice

// The promise that nothing about resources changes a bit of the logits: budget, threads, reader,
// chunking, company.

#include <gtest/gtest.h>

#include "base/canonical.h"
#include "tests/engine/fixture.h"

namespace sluice {
namespace {

using test::Conditions;

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

class ExactnessTest : public testing::Test {
 protected:
  const std::vector<TokenId> tokens_ = test::some_tokens(150);
  const std::vector<float> reference_ = test::all_logits({.ram = kPlenty}, tokens_);

  void expect_same(const Conditions& conditions) {
    EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens_), reference_));
  }
};

TEST_F(ExactnessTest, AtFiveBudgetsFromTheSmallestToEverything) {
  const std::uint64_t least = test::smallest_budget({});
  const std::uint64_t most = least + (std::uint64_t{20} << 20);
  for (int step = 0; step < 5; ++step) {
    SCOPED_TRACE(step);
    const std::uint64_t ram = least + (most - least) * static_cast<std::uint64_t>(step) / 4;
    Conditions conditions{.ram = ram};
    conditions.model.max_rows =
        16;  // many passes, so that a small cache must let experts go and fetch them again
    auto opened = test::open(conditions);
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
    const ExpertStatistics statistics = opened.model->expert_statistics();
    if (step == 0) {
      EXPECT_GT(statistics.loads, opened.model->catalogue().total_experts())
          << "the smallest budget was meant to evict";
    } else if (step == 4) {
      EXPECT_LE(statistics.loads, opened.model->catalogue().total_experts())
          << "everything was meant to fit";
    }
  }
}

TEST_F(ExactnessTest, WithWhatTheNextLayerWillLikelyWantReadAhead) {
  Conditions conditions{.ram = test::smallest_budget({})};
  conditions.model.max_rows = 1;  // decoding
  auto opened = test::open(conditions);
  Session session(*opened.model);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  const ExpertStatistics statistics = opened.model->expert_statistics();
  EXPECT_GT(statistics.expected, 100u);
  EXPECT_GT(2 * statistics.expected_rightly, statistics.expected);
}

TEST_F(ExactnessTest, WithOneToFourThreads) {
  for (unsigned threads = 1; threads <= 4; ++threads) {
    SCOPED_TRACE(threads);
    expect_same({.ram = kPlenty, .threads = threads});
  }
}

TEST_F(ExactnessTest, WithBothReaders) {
  expect_same({.ram = test::smallest_budget({}), .reader = ReaderKind::kPread});
  if (!make_block_reader(ReaderKind::kUring).ok()) GTEST_SKIP() << "the system grants no io_uring";
  expect_same({.ram = test::smallest_budget({}), .reader = ReaderKind::kUring});
}

TEST_F(ExactnessTest, WithAnyChunking) {
  for (const std::uint32_t rows : {1u, 2u, 3u, 5u, 16u, 33u, 64u, 149u}) {
    SCOPED_TRACE(rows);
    Conditions conditions{.ram = kPlenty, .threads = 2};
    conditions.model.max_rows = rows;
    expect_same(conditions);
  }
}

TEST_F(ExactnessTest, WithEveryKvTypeAndComputeMode) {
  for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    for (const bool compute_f32 : {false, true}) {
      Conditions conditions{.ram = kPlenty};
      conditions.model.kv_type = kv;
      conditions.model.compute_f32 = compute_f32;
      const std::vector<float> at_once = test::all_logits(conditions, tokens_);
      conditions.model.max_rows = 7;
      conditions.threads = 2;
      EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens_), at_once));
    }
  }
}

TEST_F(ExactnessTest, BesideOtherSequencesInTheSamePass) {
  Conditions conditions{.ram = kPlenty, .threads = 2};
  conditions.model.sequences = 3;
  auto opened = test::open(conditions);
  Model& model = *opened.model;
  Session ours(model), second(model), third(model);
  const std::vector<TokenId> other = test::some_tokens(150, 7);
  std::vector<float> logits;
  // The sequences advance at different paces in shared passes.
  std::size_t done[3] = {};
  const std::size_t pace[3] = {5, 9, 1};
  Session* sessions[3] = {&ours, &second, &third};
  while (done[0] < tokens_.size()) {
    std::vector<Row> rows;
    std::vector<bool> is_ours;
    for (int s : {1, 0, 2}) {
      const auto& text = s == 0 ? tokens_ : other;
      for (std::size_t i = 0; i < pace[s] && done[s] < text.size(); ++i, ++done[s]) {
        ASSERT_TRUE(sessions[s]->kv().reserve(done[s] + 1).ok());
        rows.push_back({.sequence = &sessions[s]->kv(),
                        .token = text[done[s]],
                        .position = static_cast<std::uint32_t>(done[s]),
                        .wants_logits = s == 0});
      }
    }
    const Status status = model.step(rows, {}, [&](std::size_t, std::span<const float> row) {
      logits.insert(logits.end(), row.begin(), row.end());
    });
    ASSERT_TRUE(status.ok()) << status.message();
  }
  EXPECT_TRUE(test::same_bits(logits, reference_));
}

TEST_F(ExactnessTest, AfterTruncation) {
  auto opened = test::open({.ram = kPlenty});
  Session session(*opened.model);
  (void)test::all_logits(session, test::some_tokens(100, 9));
  session.truncate(0);
  (void)test::all_logits(session, {tokens_.begin(), tokens_.begin() + 90});
  session.truncate(70);
  const std::vector<float> rest = test::all_logits(session, {tokens_.begin() + 70, tokens_.end()});
  const std::size_t vocabulary = opened.model->description().vocabulary;
  EXPECT_TRUE(test::same_bits(
      rest, {reference_.begin() + static_cast<std::ptrdiff_t>(70 * vocabulary), reference_.end()}));
}

TEST_F(ExactnessTest, ATextThatDoesNotFitIsRefusedAndChangesNothing) {
  auto opened = test::open({.ram = kPlenty});
  Session session(*opened.model);
  const Status status = session.eval(test::some_tokens(257), Session::Logits::kNone, {});
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(status.message().find("257"), std::string::npos);
  EXPECT_EQ(session.length(), 0u);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
}

}  // namespace
}  // namespace sluice

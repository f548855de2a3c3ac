// The promise that nothing about resources changes a bit of the logits: budget, threads, reader,
// chunking, company.

#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "base/canonical.h"
#include "tests/engine/fixture.h"
#include "tests/formats/temporary_folder.h"
#include "tests/gates/fitted_gates.h"

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

  /// Of our text's first tokens, while it and two others advance at these paces in shared passes.
  std::vector<float> logits_beside_others(Model& model, const std::array<std::size_t, 3>& pace,
                                          std::size_t length) {
    Session ours(model), second(model), third(model);
    const std::vector<TokenId> other = test::some_tokens(150, 7);
    std::vector<float> logits;
    std::size_t done[3] = {};
    Session* sessions[3] = {&ours, &second, &third};
    while (done[0] < length) {
      std::vector<Row> rows;
      for (const std::size_t s : {1u, 0u, 2u}) {
        const auto& text = s == 0 ? tokens_ : other;
        const std::size_t end = s == 0 ? length : text.size();
        for (std::size_t i = 0; i < pace[s] && done[s] < end; ++i, ++done[s]) {
          EXPECT_TRUE(sessions[s]->kv().reserve(done[s] + 1).ok());
          rows.push_back({.sequence = &sessions[s]->kv(),
                          .token = text[done[s]],
                          .position = static_cast<std::uint32_t>(done[s]),
                          .wants_logits = s == 0});
        }
      }
      const Status status = model.step(rows, {}, [&](std::size_t, std::span<const float> row) {
        logits.insert(logits.end(), row.begin(), row.end());
      });
      EXPECT_TRUE(status.ok()) << status.message();
      if (!status.ok()) break;
    }
    return logits;
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
  conditions.model.max_rows = 1;      // decoding
  conditions.model.predict = "both";  // not judged
  auto opened = test::open(conditions);
  Session session(*opened.model);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  const ExpertStatistics statistics = opened.model->expert_statistics();
  EXPECT_GT(statistics.expected, 100u);
  EXPECT_GT(2 * statistics.expected_rightly, statistics.expected);
}

TEST_F(ExactnessTest, WhileForetellingIsSwitchedOnAndOffBetweenTokens) {
  for (const char* kind : {"both", "affinity"}) {
    SCOPED_TRACE(kind);
    Conditions conditions;
    conditions.model.predict = kind;  // not judged
    conditions.ram = test::smallest_budget(conditions);
    auto opened = test::open(conditions);
    Session session(*opened.model);
    std::vector<float> logits;
    std::uint64_t expected[2] = {}, before = 0;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const bool foretell = i / 7 % 2 == 0;
      const Status status = session.eval({&tokens_[i], 1}, Session::Logits::kLast,
                                         [&](std::size_t, std::span<const float> row) {
                                           logits.insert(logits.end(), row.begin(), row.end());
                                         },
                                         {.foretell = foretell});
      ASSERT_TRUE(status.ok()) << status.message();
      const std::uint64_t now = opened.model->expert_statistics().expected;
      expected[foretell] += now - before;
      before = now;
    }
    EXPECT_TRUE(test::same_bits(logits, reference_));
    EXPECT_EQ(expected[false], 0u);
    EXPECT_GT(expected[true], 0u);
  }
}

TEST_F(ExactnessTest, BegunWithWhatAnEarlierRunHadInMemory) {
  const std::uint64_t ram = test::smallest_budget({}) + (std::uint64_t{6} << 20);
  for (const std::uint32_t rows : {1u, 16u}) {
    for (const bool wait : {false, true}) {
      SCOPED_TRACE(rows);
      Conditions conditions{.ram = ram};
      conditions.model.max_rows = rows;
      HotSet hot;
      {
        auto earlier = test::open(conditions);
        Session session(*earlier.model);
        (void)test::all_logits(session, test::some_tokens(60, 5));
        hot = earlier.model->hot_set();
      }
      ASSERT_GT(hot.experts.size(), 40u);
      auto opened = test::open(conditions);
      opened.model->warm(hot);
      while (wait && opened.model->warm_up()) continue;
      Session session(*opened.model);
      EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
      const std::uint64_t warmed = opened.model->expert_statistics().warmed;
      if (wait) {
        EXPECT_GT(warmed, 40u);
      } else if (rows == 1) {  // of many rows' guesses the disk has enough to do
        EXPECT_GT(warmed, 0u);
      }
    }
  }
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
  EXPECT_TRUE(
      test::same_bits(logits_beside_others(*opened.model, {5, 9, 1}, tokens_.size()), reference_));
}

/// What is foretold decides what is read early, and nothing else: not even where corrections make
/// nonsense of it.
TEST_F(ExactnessTest, WithEveryPredictorWhateverItsCorrectionsSay) {
  constexpr std::size_t kLength = 40;
  const std::span first(reference_.data(), kLength * (reference_.size() / tokens_.size()));
  const test::TemporaryFolder folder;
  std::string nonsense;
  {
    const auto opened = test::open({.ram = kPlenty});
    const ModelDescription& model = opened.model->description();
    std::vector<std::pair<std::uint32_t, std::uint32_t>> places;
    for (std::uint32_t layer = 0; layer < model.layers.size(); ++layer)
      places.push_back({1, layer});
    nonsense =
        folder.write("nonsense", GateCorrections::to_file(test::random_gates(model, places), {},
                                                          model, opened.model->weights().layers()));
  }
  const std::uint64_t room = std::filesystem::file_size(nonsense);
  for (const std::string& kind : GateForecast::kinds()) {
    for (const bool corrected : {false, true}) {
      for (const std::uint64_t more : {std::uint64_t{1} << 20, std::uint64_t{5} << 20}) {
        SCOPED_TRACE(kind + (corrected ? ", corrected" : "") + ", " + std::to_string(more));
        Conditions conditions;
        conditions.model.predict = kind;
        conditions.model.calibration = corrected ? nonsense : "";
        conditions.model.sequences = 3;
        conditions.model.max_rows = 16;
        conditions.ram = test::smallest_budget(conditions) + room + more;
        auto opened = test::open(conditions);
        // Three prompts at once, then all decode, a row each.
        EXPECT_TRUE(
            test::same_bits(logits_beside_others(*opened.model, {5, 9, 2}, kLength), first));
        const ExpertStatistics prefill = opened.model->expert_statistics();
        EXPECT_TRUE(
            test::same_bits(logits_beside_others(*opened.model, {1, 1, 1}, kLength), first));
        const ExpertStatistics decode = opened.model->expert_statistics() - prefill;
        EXPECT_EQ(prefill.expected + decode.expected == 0, kind == "off");
        EXPECT_GT(decode.loads, 0u) << "the budget was meant to be small";
      }
    }
  }
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

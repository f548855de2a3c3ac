// Widths that follow shares, on a disk that does as it likes: when a plane comes, who computes
// beside it and what fails or is stopped in between changes no bit.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/engine/nested_models.h"
#include "tests/support/stopping_reader.h"
#include "tests/support/unruly_reader.h"

namespace sluice {
namespace {

class AutoWidthUnderStress : public test::NestedModel {
 protected:
  /// As little memory as will do, so that planes come and go; what is foretold is read at once.
  test::Conditions conditions() {
    test::Conditions conditions;
    conditions.path = store_;
    conditions.threads = 2;
    conditions.model.width = kAutoWidth;
    conditions.model.narrow = 0.1f;
    conditions.model.calibration = "";
    conditions.model.sequences = 2;
    conditions.model.max_rows = 8;
    conditions.model.predict = "both";
    return conditions;
  }

  std::string store_ = pack(/*keep_floats=*/false);
};

/// Tokens in passes of any length, each of which may fail or be stopped, and is made again then.
class Sitting {
 public:
  Sitting(Model& model, test::StoppingReader& reader, unsigned seed)
      : session_(model), reader_(reader), random_(seed) {}

  /// Logits of all, or none after a failure that is not to be.
  std::vector<float> compute(const std::vector<TokenId>& tokens) {
    std::vector<float> all;
    unsigned tries = 0;
    while (session_.length() < tokens.size()) {
      const std::size_t done = session_.length();
      const std::size_t count = std::min<std::size_t>(1 + random_() % 6, tokens.size() - done);
      std::vector<float> logits;
      const Status status = pass(std::span(tokens).subspan(done, count), logits);
      if (status.ok()) {
        all.insert(all.end(), logits.begin(), logits.end());
        tries = 0;
        continue;
      }
      EXPECT_EQ(session_.length(), done);
      EXPECT_LT(++tries, 1000u) << status.message();
      if (!expected(status) || tries >= 1000) return {};
    }
    return all;
  }

  unsigned stopped = 0, failed = 0;

 private:
  Status pass(std::span<const TokenId> tokens, std::vector<float>& logits) {
    stop_ = false;
    if (random_() % 4 == 0) reader_.stop_at(1 + random_() % 60, stop_);
    PassOptions options;
    options.cancel = &stop_;
    return session_.eval(
        tokens, Session::Logits::kAll,
        [&](std::size_t, std::span<const float> row) {
          logits.insert(logits.end(), row.begin(), row.end());
        },
        options);
  }

  bool expected(const Status& status) {
    stopped += status.code() == ErrorCode::kCancelled;
    failed += status.code() == ErrorCode::kIo || status.code() == ErrorCode::kCorrupt;
    if (status.code() == ErrorCode::kCancelled) return true;
    EXPECT_NE(status.message().find(", expert "), std::string::npos) << status.message();
    return status.code() == ErrorCode::kIo || status.code() == ErrorCode::kCorrupt;
  }

  Session session_;
  test::StoppingReader& reader_;
  std::mt19937 random_;
  std::atomic<bool> stop_ = false;
};

TEST_P(AutoWidthUnderStress, TwoSessionsAtOnceHaveTheBitsOfOneThatIsNotHurried) {
  const std::vector<TokenId> tokens[] = {test::some_tokens(40, 1), test::some_tokens(40, 2)};
  test::Conditions conditions = this->conditions();
  const std::vector<float> want[] = {test::all_logits(conditions, tokens[0]),
                                     test::all_logits(conditions, tokens[1])};
  conditions.ram = test::smallest_budget(conditions);
  unsigned stopped = 0, failed = 0;
  constexpr const char* kPolicies[] = {"auto", "lru", "learned"};
  for (unsigned seed = 0; seed < std::size(kPolicies); ++seed) {
    auto unruly = std::make_unique<test::UnrulyReader>(seed == 0 ? 1 : 512, seed,
                                                       std::chrono::microseconds(20));
    test::UnrulyReader& disk = *unruly;
    auto stopping = std::make_unique<test::StoppingReader>(std::move(unruly));
    test::StoppingReader& reader = *stopping;
    conditions.model.policy = kPolicies[seed];
    test::Opened opened = test::open(conditions, std::move(stopping));
    disk.fail_one_in(500);
    disk.corrupt_one_in(500);
    std::vector<float> got[2];
    Sitting sittings[] = {{*opened.model, reader, 2 * seed}, {*opened.model, reader, 2 * seed + 1}};
    std::thread other([&] { got[1] = sittings[1].compute(tokens[1]); });
    got[0] = sittings[0].compute(tokens[0]);
    other.join();
    reader.never_stop();
    EXPECT_TRUE(test::same_bits(got[0], want[0])) << seed;
    EXPECT_TRUE(test::same_bits(got[1], want[1])) << seed;
    EXPECT_GT(opened.model->expert_statistics().loads, 100u);
    EXPECT_GT(opened.model->expert_statistics().expected, 0u);
    for (const Sitting& sitting : sittings) {
      stopped += sitting.stopped;
      failed += sitting.failed;
    }
  }
  EXPECT_GT(stopped, 0u);
  EXPECT_GT(failed, 0u);
}

INSTANTIATE_TEST_SUITE_P(Sources, AutoWidthUnderStress, ::testing::ValuesIn(test::nested_sources()),
                         [](const auto& source) { return std::string(source.param.name); });

}  // namespace
}  // namespace sluice

// For every N: the Nth read of an evaluation fails, comes short or comes late. The request fails
// with a clear message or succeeds with the right bits, and the next request is right.

#include <gtest/gtest.h>

#include "io/faulty_reader.h"
#include "tests/engine/fixture.h"

namespace sluice {
namespace {

class FaultsTest : public testing::TestWithParam<ReaderKind> {
 protected:
  void SetUp() override {
    auto inner = make_block_reader(GetParam());
    if (!inner.ok()) GTEST_SKIP() << inner.status().message();
    auto faulty = std::make_unique<FaultyReader>(std::move(*inner));
    reader_ = faulty.get();
    // As little memory as possible: nearly every expert is read again and again.
    opened_ = test::open({.ram = test::smallest_budget({})}, std::move(faulty));
  }

  /// Reads that one evaluation of `tokens_` submits; they are the same each time only in number of
  /// experts, so faults are placed modulo it.
  std::uint64_t reads_of_one_evaluation() {
    const std::uint64_t before = reader_->fault_counters().submitted;
    Session session(*opened_.model);
    reference_ = test::all_logits(session, tokens_);
    return reader_->fault_counters().submitted - before;
  }

  void expect_next_request_is_right() {
    reader_->clear_faults();
    Session session(*opened_.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  }

  const std::vector<TokenId> tokens_ = test::some_tokens(3);
  std::vector<float> reference_;
  FaultyReader* reader_ = nullptr;
  test::Opened opened_;
};

TEST_P(FaultsTest, AFailedOrShortReadFailsTheRequestAndNotTheNext) {
  const std::uint64_t reads = reads_of_one_evaluation();
  ASSERT_GT(reads, 20u);
  for (const auto kind : {ReadFault::Kind::kFail, ReadFault::Kind::kShort}) {
    std::uint64_t failures = 0;
    for (std::uint64_t n = 1; n <= reads / 2; ++n) {
      SCOPED_TRACE(n);
      reader_->add_fault({.kind = kind, .nth = reader_->fault_counters().submitted + n});
      Session session(*opened_.model);
      const std::uint64_t faults = reader_->fault_counters().faults;
      std::vector<float> last;
      const Status status = session.eval(tokens_, Session::Logits::kLast,
                                         [&](std::size_t, std::span<const float> logits) {
                                           last.assign(logits.begin(), logits.end());
                                         });
      if (status.ok()) {
        // No fault was met, or one of an expert that was read before anybody asked for it.
        const std::span<const float> all(reference_);
        EXPECT_TRUE(test::same_bits(last, all.last(last.size())));
        session.truncate(0);
      } else {
        failures += 1;
        EXPECT_GT(reader_->fault_counters().faults, faults);
        EXPECT_EQ(status.code(), ErrorCode::kIo);
        EXPECT_NE(status.message().find("tales.gguf"), std::string::npos) << status.message();
        EXPECT_NE(status.message().find("expert"), std::string::npos) << status.message();
        EXPECT_EQ(session.length(), 0u);
      }
      // The same session goes on, too.
      reader_->clear_faults();
      EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
    }
    EXPECT_GT(failures, reads / 4);
  }
}

TEST_P(FaultsTest, ALateReadChangesNothing) {
  const std::uint64_t reads = reads_of_one_evaluation();
  for (std::uint64_t n = 1; n <= reads; ++n) {
    SCOPED_TRACE(n);
    reader_->add_fault({.kind = ReadFault::Kind::kDelay,
                        .nth = reader_->fault_counters().submitted + n,
                        .behind = 1 + n % 9});
    Session session(*opened_.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  }
}

TEST_P(FaultsTest, ADiskThatStaysDeadFailsEveryRequestAndComesBack) {
  (void)reads_of_one_evaluation();
  reader_->add_fault({.kind = ReadFault::Kind::kFail,
                      .nth = reader_->fault_counters().submitted + 1,
                      .times = 1u << 20});
  for (int i = 0; i < 5; ++i) {
    Session session(*opened_.model);
    EXPECT_EQ(session.eval(test::some_tokens(20, 5), Session::Logits::kNone, {}).code(),
              ErrorCode::kIo);
  }
  expect_next_request_is_right();
}

INSTANTIATE_TEST_SUITE_P(Readers, FaultsTest,
                         testing::Values(ReaderKind::kUring, ReaderKind::kPread),
                         [](const auto& instance) {
                           return instance.param == ReaderKind::kUring ? "Uring" : "Pread";
                         });

}  // namespace
}  // namespace sluice

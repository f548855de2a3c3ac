#include "io/read_queue.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

constexpr std::size_t kPiece = 64u << 10;

/// A queue over one file; the test plays the system.
class ReadQueueTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = OpenFile::open(file_.path(), true);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    queue_.add_file(std::move(opened).value());
    alignment_ = queue_.file(0)->alignment();
  }

  ReadRequest request(std::uint64_t offset, std::size_t bytes, std::size_t needed) {
    ReadRequest made;
    made.offset = offset;
    made.bytes = bytes;
    made.needed = needed;
    made.destination = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 20);  // never written to
    made.tag = 77;
    return made;
  }
  Status add(const ReadRequest& made) { return queue_.add(std::span(&made, 1)); }

  /// The status of the one request that is done.
  Status outcome() {
    ReadCompletion completion;
    EXPECT_EQ(queue_.take_done(std::span(&completion, 1)), 1u);
    EXPECT_EQ(completion.tag, 77u);
    EXPECT_TRUE(queue_.idle());
    return completion.status;
  }

  static constexpr std::size_t kSize = 1'000'003;
  test::TemporaryFile file_{kSize};
  ReadQueue queue_{kPiece};
  std::size_t alignment_ = 1;
  ReadPiece piece_;
};

TEST_F(ReadQueueTest, SplitsARequestIntoPiecesThatCoverItOnce) {
  ASSERT_TRUE(add(request(4096, 5 * kPiece / 2 / 4096 * 4096, 1)).ok());
  std::vector<ReadPiece> pieces;
  while (queue_.take_piece(&piece_)) pieces.push_back(piece_);
  ASSERT_EQ(pieces.size(), 3u);
  std::uint64_t at = 4096;
  for (const ReadPiece& piece : pieces) {
    EXPECT_EQ(piece.offset, at);
    EXPECT_LE(piece.bytes, kPiece);
    at += piece.bytes;
  }
  EXPECT_EQ(at, 4096 + 5 * kPiece / 2 / 4096 * 4096);
  // Done only after the last piece, whatever their order.
  EXPECT_FALSE(queue_.advance(&pieces[1], static_cast<long>(pieces[1].bytes)));
  EXPECT_FALSE(queue_.advance(&pieces[2], static_cast<long>(pieces[2].bytes)));
  EXPECT_FALSE(queue_.has_done());
  EXPECT_FALSE(queue_.advance(&pieces[0], static_cast<long>(pieces[0].bytes)));
  EXPECT_TRUE(outcome().ok());
}

TEST_F(ReadQueueTest, KeepsPiecesBackWhileEnoughBytesAreInFlight) {
  queue_.limit_in_flight(kPiece + 1);
  ASSERT_TRUE(add(request(0, 4 * kPiece, 1)).ok());
  ReadPiece first, second;
  ASSERT_TRUE(queue_.take_piece(&first));
  ASSERT_TRUE(queue_.take_piece(&second));
  EXPECT_FALSE(queue_.has_piece());
  EXPECT_FALSE(queue_.take_piece(&piece_));
  EXPECT_FALSE(queue_.advance(&first, static_cast<long>(first.bytes)));
  EXPECT_TRUE(queue_.take_piece(&piece_));
  EXPECT_EQ(piece_.offset, 2 * kPiece);
  EXPECT_FALSE(queue_.take_piece(&first));
  queue_.limit_in_flight(0);
  EXPECT_TRUE(queue_.take_piece(&first));
}

TEST_F(ReadQueueTest, ContinuesAShortReadFromTheStartOfItsSector) {
  ASSERT_TRUE(add(request(0, 16384, 16384)).ok());
  ASSERT_TRUE(queue_.take_piece(&piece_));
  EXPECT_TRUE(queue_.advance(&piece_, 4096 + 100));
  EXPECT_EQ(piece_.resume(), alignment_ > 1 ? 4096u : 4196u);
  EXPECT_TRUE(queue_.advance(&piece_, 4096));
  EXPECT_FALSE(queue_.advance(&piece_, static_cast<long>(piece_.bytes - piece_.resume())));
  EXPECT_TRUE(outcome().ok());
  EXPECT_EQ(queue_.counters().retries, 2u);
}

TEST_F(ReadQueueTest, TakesRefusalsAsNormal) {
  ASSERT_TRUE(add(request(0, 4096, 4096)).ok());
  ASSERT_TRUE(queue_.take_piece(&piece_));
  for (const int error : {EAGAIN, EINTR, EBUSY, ECANCELED, EFAULT}) {
    EXPECT_TRUE(queue_.advance(&piece_, -error)) << error;
    EXPECT_EQ(piece_.resume(), 0u);
  }
  EXPECT_FALSE(queue_.advance(&piece_, 4096));
  EXPECT_TRUE(outcome().ok());
  EXPECT_EQ(queue_.counters().retries, 5u);
}

TEST_F(ReadQueueTest, GivesUpOnARefusalThatNeverEnds) {
  ASSERT_TRUE(add(request(0, 4096, 4096)).ok());
  ASSERT_TRUE(queue_.take_piece(&piece_));
  unsigned refusals = 0;
  while (queue_.advance(&piece_, -EAGAIN)) ASSERT_LT(++refusals, 100'000u);
  EXPECT_EQ(outcome().code(), ErrorCode::kIo);
}

TEST_F(ReadQueueTest, AnErrorNamesFileOffsetAndReason) {
  ASSERT_TRUE(add(request(8192, 4096, 4096)).ok());
  ASSERT_TRUE(queue_.take_piece(&piece_));
  EXPECT_FALSE(queue_.advance(&piece_, -EIO));
  const Status status = outcome();
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_NE(status.message().find(file_.path()), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("8192"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("Input/output error"), std::string::npos) << status.message();
}

TEST_F(ReadQueueTest, OneBadPieceFailsTheRequestAfterAllCameBack) {
  ASSERT_TRUE(add(request(0, 2 * kPiece, 2 * kPiece)).ok());
  ReadPiece other;
  ASSERT_TRUE(queue_.take_piece(&piece_));
  ASSERT_TRUE(queue_.take_piece(&other));
  EXPECT_FALSE(queue_.advance(&piece_, -EIO));
  EXPECT_FALSE(queue_.has_done());
  EXPECT_FALSE(queue_.advance(&other, static_cast<long>(other.bytes)));
  EXPECT_FALSE(outcome().ok());
}

TEST_F(ReadQueueTest, AsksForNoPieceWhollyPastTheEnd) {
  constexpr std::size_t kBegin = kSize / 4096 * 4096;
  ASSERT_TRUE(add(request(kBegin, 10 * kPiece, kSize - kBegin)).ok());
  ASSERT_TRUE(queue_.take_piece(&piece_));
  EXPECT_FALSE(queue_.has_piece());
  EXPECT_FALSE(queue_.advance(&piece_, kSize - kBegin));
  EXPECT_TRUE(outcome().ok());
}

TEST_F(ReadQueueTest, ARequestOfNothingIsDoneAtOnce) {
  ASSERT_TRUE(add(request(0, 0, 0)).ok());
  EXPECT_FALSE(queue_.has_piece());
  EXPECT_TRUE(outcome().ok());
  ASSERT_TRUE(add(request(1u << 20, 4096, 0)).ok());  // past the end, and not needed
  EXPECT_FALSE(queue_.has_piece());
  EXPECT_TRUE(outcome().ok());
}

TEST_F(ReadQueueTest, MeetingTheEndFailsOnlyWhatIsNeeded) {
  for (const std::size_t needed : {4196u, 4197u}) {
    ASSERT_TRUE(add(request(0, 16384, needed)).ok());
    ASSERT_TRUE(queue_.take_piece(&piece_));
    EXPECT_TRUE(queue_.advance(&piece_, 4196));  // short
    EXPECT_FALSE(
        queue_.advance(&piece_, static_cast<long>(4196 - piece_.resume())));  // and no more
    const Status status = outcome();
    EXPECT_EQ(status.ok(), needed == 4196u) << status.message();
    if (!status.ok()) {
      EXPECT_NE(status.message().find("only 4196 came"), std::string::npos) << status.message();
    }
  }
}

TEST_F(ReadQueueTest, RefusesWhatBreaksItsPromisesAndTakesNothing) {
  std::vector<ReadRequest> bad;
  bad.push_back(request(0, 4096, 4097));
  bad.push_back(request(0, 4096, 4096));
  bad.back().destination = nullptr;
  bad.push_back(request(0, 4096, 4096));
  bad.back().file = 1;
  bad.push_back(request(UINT64_MAX - 4095, 4096, 0));
  if (alignment_ > 1) {
    bad.push_back(request(1, 4096, 0));
    bad.push_back(request(0, 4095, 0));
    bad.push_back(request(0, 4096, 0));
    ++bad.back().destination;
  }
  for (std::size_t i = 0; i < bad.size(); ++i) {
    const std::vector<ReadRequest> both = {request(0, 4096, 4096), bad[i]};
    EXPECT_EQ(queue_.add(both).code(), ErrorCode::kInvalidArgument) << i;
    EXPECT_TRUE(queue_.idle()) << i;
    EXPECT_FALSE(queue_.has_piece()) << i;
  }
}

}  // namespace
}  // namespace sluice

#include "store/pack_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory_target.h"

namespace sluice {
namespace {

using test::MemoryTarget;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kPin = 0x123456789abcdef0;
constexpr std::size_t kRecordBytes = 24;

Result<PackJournal> open(MemoryTarget& target, std::uint64_t pin = kPin, std::uint64_t most = 99) {
  return PackJournal::open(target.journal(), pin, most);
}

/// A journal of these checksums.
std::unique_ptr<MemoryTarget> journal_of(const std::vector<std::uint64_t>& checksums) {
  auto target = std::make_unique<MemoryTarget>();
  auto journal = open(*target);
  EXPECT_TRUE(journal.ok() && journal->fresh() && journal->restart(0).ok());
  for (const std::uint64_t checksum : checksums) EXPECT_TRUE(journal->append({{checksum}}).ok());
  return target;
}

TEST(PackJournal, RemembersBlocksOfItsPinOnly) {
  const auto target = journal_of({7, 8, 9});
  EXPECT_EQ(target->journal().bytes().size(), 4 * kRecordBytes);
  const auto same = open(*target);
  ASSERT_TRUE(same.ok());
  EXPECT_FALSE(same->fresh());
  EXPECT_FALSE(same->other());
  EXPECT_THAT(same->checksums(), ElementsAre(7, 8, 9));
  const auto other = open(*target, kPin + 1);
  ASSERT_TRUE(other.ok());
  EXPECT_FALSE(other->fresh());
  EXPECT_TRUE(other->other());
  EXPECT_THAT(other->checksums(), IsEmpty());
  const auto fewer = open(*target, kPin, 2);  // a plan with fewer blocks would have another pin
  ASSERT_TRUE(fewer.ok());
  EXPECT_THAT(fewer->checksums(), ElementsAre(7, 8));
}

TEST(PackJournal, AppendsInOneGoAndAfterARestart) {
  const auto target = journal_of({});
  auto journal = open(*target);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE(journal->restart(0).ok());
  ASSERT_TRUE(journal->append({{1, 2, 3, 4}}).ok());
  ASSERT_TRUE(journal->append({}).ok());
  ASSERT_TRUE(journal->restart(2).ok());
  EXPECT_EQ(target->journal().bytes().size(), 3 * kRecordBytes);
  ASSERT_TRUE(journal->append({{30}}).ok());
  EXPECT_THAT(open(*target)->checksums(), ElementsAre(1, 2, 30));
}

TEST(PackJournal, CutAtAnyByteItKeepsWholeRecords) {
  const std::vector<std::uint64_t> checksums = {11, 12, 13, 14};
  for (std::size_t bytes = 0; bytes <= 5 * kRecordBytes; ++bytes) {
    const auto target = journal_of(checksums);
    ASSERT_TRUE(target->journal().truncate(bytes).ok());
    const auto journal = open(*target);
    ASSERT_TRUE(journal.ok()) << bytes;
    EXPECT_EQ(journal->fresh(), bytes < kRecordBytes);
    const std::size_t kept = bytes < kRecordBytes ? 0 : bytes / kRecordBytes - 1;
    EXPECT_THAT(journal->checksums(), ElementsAreArray(checksums.data(), kept)) << bytes;
  }
}

TEST(PackJournal, EveryFlippedBitEndsItThere) {
  const std::vector<std::uint64_t> checksums = {11, 12, 13};
  for (std::size_t bit = 0; bit < 4 * kRecordBytes * 8; ++bit) {
    const auto target = journal_of(checksums);
    const std::byte flipped = target->journal().bytes()[bit / 8] ^ std::byte(1 << bit % 8);
    ASSERT_TRUE(target->journal().write(bit / 8, {&flipped, 1}).ok());
    const auto journal = open(*target);
    const std::size_t record = bit / 8 / kRecordBytes;
    if (bit < 64) {
      EXPECT_EQ(journal.status().code(), ErrorCode::kInvalidArgument) << bit;
      continue;
    }
    ASSERT_TRUE(journal.ok()) << bit;
    EXPECT_EQ(journal->fresh(), record == 0) << bit;
    const std::size_t kept = record == 0 ? 0 : record - 1;
    EXPECT_THAT(journal->checksums(), ElementsAreArray(checksums.data(), kept)) << bit;
  }
}

TEST(PackJournal, ZerosAreOneWhoseFirstRecordWasLost) {
  MemoryTarget target;
  const std::vector<std::byte> zeros(100);
  ASSERT_TRUE(target.journal().write(0, zeros).ok());
  const auto journal = open(target);
  ASSERT_TRUE(journal.ok());
  EXPECT_TRUE(journal->fresh());
}

TEST(PackJournal, AnotherKindOfFileIsLeftAsItIs) {
  for (const std::string_view text : {"mine", "SLCPACK2 and more than a record of text"}) {
    MemoryTarget target;
    ASSERT_TRUE(target.journal().write(0, std::as_bytes(std::span(text))).ok());
    const auto journal = open(target);
    EXPECT_EQ(journal.status().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(journal.status().message(), HasSubstr("memory.slc.partial.journal"));
    EXPECT_EQ(target.journal().bytes().size(), text.size());
  }
}

}  // namespace
}  // namespace sluice

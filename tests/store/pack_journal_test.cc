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

constexpr PackIdentity kIdentity = {{1, 2, 3, 4, 5, 0x123456789abcdef0}};
constexpr std::size_t kHeadBytes = 64, kRecordBytes = 24;

Result<PackJournal> open(MemoryTarget& target, std::uint64_t most = 99) {
  return PackJournal::open(target.journal(), most);
}

/// A journal of these checksums.
std::unique_ptr<MemoryTarget> journal_of(const std::vector<std::uint64_t>& checksums) {
  auto target = std::make_unique<MemoryTarget>();
  auto journal = open(*target);
  EXPECT_TRUE(journal.ok() && !journal->identity() && journal->restart(kIdentity, 0).ok());
  for (const std::uint64_t checksum : checksums) EXPECT_TRUE(journal->append({{checksum}}).ok());
  return target;
}

TEST(PackJournal, RemembersWhatItIsOfAndItsBlocks) {
  const auto target = journal_of({7, 8, 9});
  EXPECT_EQ(target->journal().bytes().size(), kHeadBytes + 3 * kRecordBytes);
  auto same = open(*target);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->identity(), kIdentity);
  EXPECT_THAT(same->checksums(), ElementsAre(7, 8, 9));
  EXPECT_THAT(open(*target, 2)->checksums(), ElementsAre(7, 8));
  PackIdentity other = kIdentity;
  ++other.parts[2];
  const std::vector<std::byte> records(target->journal().bytes().begin() + kHeadBytes,
                                       target->journal().bytes().end());
  ASSERT_TRUE(same->restart(other, 0).ok());
  EXPECT_EQ(open(*target)->identity(), other);
  // Records of another identity, which a disk may bring back, are none.
  ASSERT_TRUE(target->journal().write(kHeadBytes, records).ok());
  EXPECT_THAT(open(*target)->checksums(), IsEmpty());
}

TEST(PackJournal, AppendsInOneGoAndAfterARestart) {
  const auto target = journal_of({});
  auto journal = open(*target);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE(journal->restart(kIdentity, 0).ok());
  ASSERT_TRUE(journal->append({{1, 2, 3, 4}}).ok());
  ASSERT_TRUE(journal->append({}).ok());
  ASSERT_TRUE(journal->restart(kIdentity, 2).ok());
  EXPECT_EQ(target->journal().bytes().size(), kHeadBytes + 2 * kRecordBytes);
  ASSERT_TRUE(journal->append({{30}}).ok());
  EXPECT_THAT(open(*target)->checksums(), ElementsAre(1, 2, 30));
}

TEST(PackJournal, CutAtAnyByteItKeepsWholeRecords) {
  const std::vector<std::uint64_t> checksums = {11, 12, 13, 14};
  for (std::size_t bytes = 0; bytes <= kHeadBytes + 4 * kRecordBytes; ++bytes) {
    const auto target = journal_of(checksums);
    ASSERT_TRUE(target->journal().truncate(bytes).ok());
    const auto journal = open(*target);
    ASSERT_TRUE(journal.ok()) << bytes;
    EXPECT_EQ(journal->identity().has_value(), bytes >= kHeadBytes);
    const std::size_t kept = bytes < kHeadBytes ? 0 : (bytes - kHeadBytes) / kRecordBytes;
    EXPECT_THAT(journal->checksums(), ElementsAreArray(checksums.data(), kept)) << bytes;
  }
}

TEST(PackJournal, EveryFlippedBitEndsItThere) {
  const std::vector<std::uint64_t> checksums = {11, 12, 13};
  for (std::size_t bit = 0; bit < (kHeadBytes + 3 * kRecordBytes) * 8; ++bit) {
    const auto target = journal_of(checksums);
    const std::byte flipped = target->journal().bytes()[bit / 8] ^ std::byte(1 << bit % 8);
    ASSERT_TRUE(target->journal().write(bit / 8, {&flipped, 1}).ok());
    const auto journal = open(*target);
    const bool head = bit / 8 < kHeadBytes;
    if (bit < 64) {
      EXPECT_EQ(journal.status().code(), ErrorCode::kInvalidArgument) << bit;
      continue;
    }
    ASSERT_TRUE(journal.ok()) << bit;
    EXPECT_EQ(journal->identity().has_value(), !head) << bit;
    const std::size_t kept = head ? 0 : (bit / 8 - kHeadBytes) / kRecordBytes;
    EXPECT_THAT(journal->checksums(), ElementsAreArray(checksums.data(), kept)) << bit;
  }
}

TEST(PackJournal, ZerosAreOneWhoseFirstRecordWasLost) {
  MemoryTarget target;
  const std::vector<std::byte> zeros(100);
  ASSERT_TRUE(target.journal().write(0, zeros).ok());
  const auto journal = open(target);
  ASSERT_TRUE(journal.ok());
  EXPECT_FALSE(journal->identity());
}

TEST(PackJournal, AnotherKindOfFileIsLeftAsItIs) {
  for (const std::string_view text : {"mine", "SLCPACK1 and more than a record of text"}) {
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

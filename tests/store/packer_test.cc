#include "store/packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "io/faulty_reader.h"
#include "memory_target.h"
#include "pack_trial.h"
#include "sample_plan.h"

namespace sluice {
namespace {

using test::MemoryTarget;
using test::SamplePlan;
using Outcome = test::PackOutcome;
using test::TemporaryFolder;
using testing::HasSubstr;

/// Small pieces, so that there are many moments at which something can happen.
PackOptions small(std::uint64_t sync_bytes = 50'000) {
  return {.chunk_bytes = 4096 * 5, .sync_bytes = sync_bytes};
}

class PackerTest : public testing::Test {
 protected:
  Outcome pack(MemoryTarget& target, BlockReader& reader, PackOptions options = small()) {
    return test::pack_into(sample.plan, target, reader, std::move(options));
  }
  Outcome pack(MemoryTarget& target, PackOptions options = small()) {
    const auto each_its_own = test::any_reader();
    return pack(target, *each_its_own, std::move(options));
  }
  /// Packs what is left and finds the very bytes.
  Outcome finish(MemoryTarget& target) {
    const Outcome outcome = pack(target);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_TRUE(target.published == sample.bytes);
    return outcome;
  }
  /// What is there is of another pack, and stays.
  void expect_refused(MemoryTarget& target, const char* words) {
    const std::vector<std::byte> there = target.partial().bytes();
    const Outcome outcome = pack(target);
    EXPECT_EQ(outcome.status.code(), ErrorCode::kInvalidArgument);
    for (const char* part : {"memory.slc.partial: was begun with", words, "remove this file"}) {
      EXPECT_THAT(outcome.status.message(), HasSubstr(part));
    }
    EXPECT_TRUE(target.partial().bytes() == there);
  }
  /// Where block `count` begins.
  std::uint64_t after(std::size_t count) const { return offset_after(sample.plan, count); }

  TemporaryFolder folder;
  SamplePlan sample{folder, 1, 40};
};

TEST_F(PackerTest, CopiesEveryByteAndFillsGapsWithZeros) {
  for (const std::uint64_t seed : {2, 3, 4}) {
    sample = SamplePlan(folder, seed, 25);
    for (const std::size_t chunk : {std::size_t{4096}, std::size_t{12288}, std::size_t{1} << 20}) {
      MemoryTarget target;
      std::vector<std::uint64_t> written;
      const Outcome outcome =
          pack(target, {.chunk_bytes = chunk, .sync_bytes = 1u << 16, .progress = [&](auto bytes) {
                          written.push_back(bytes);
                        }});
      ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
      EXPECT_TRUE(target.published == sample.bytes);
      EXPECT_EQ(outcome.resumed, 0u);
      EXPECT_TRUE(std::ranges::is_sorted(written));
      EXPECT_EQ(written.back(), sample.bytes.size());
    }
  }
}

TEST_F(PackerTest, APlanWithoutBlocksIsAHeadAndATable) {
  sample = SamplePlan(folder, 5, 0);
  MemoryTarget target;
  finish(target);
}

TEST_F(PackerTest, GoesOnAfterALossOfPowerAtEveryOperation) {
  std::mt19937_64 random(7);
  MemoryTarget whole;
  finish(whole);
  const std::uint64_t operations = whole.faults.operations;
  ASSERT_GT(operations, 60u);
  for (int round = 0; round < 2; ++round) {
    test::lose_power_at_each(
        operations, 40, random, [&](MemoryTarget& target) { return pack(target); },
        [&](MemoryTarget& target, std::uint64_t nth) {
          const Outcome outcome = finish(target);
          if (nth == operations) {
            EXPECT_EQ(outcome.resumed, after(40));
          }
          return outcome;
        });
  }
}

TEST_F(PackerTest, AFullDiskLosesAtMostWhatWasNotSynced) {
  for (std::uint64_t room = 0; room < sample.bytes.size(); room += 24'999) {
    MemoryTarget target;
    target.partial().set_most_bytes(room);
    const Outcome full = pack(target);
    EXPECT_EQ(full.status.code(), ErrorCode::kIo);
    EXPECT_THAT(full.status.message(), HasSubstr("full"));
    if (full.kept == 0) {
      EXPECT_TRUE(target.partial().bytes().empty());  // nothing in the way
    }
    // All of the chunks that fitted, but for the last block of them.
    if (room > 150'000) {
      EXPECT_GT(full.kept, room - 4096 * 5 - 60'000);
    }
    target.partial().set_most_bytes(test::kNever);
    EXPECT_EQ(finish(target).resumed, full.kept);
  }
}

TEST_F(PackerTest, AFailedSyncIsNotTriedAgain) {
  MemoryTarget whole;
  finish(whole);
  for (std::uint64_t nth = 1; nth <= whole.faults.operations; ++nth) {
    MemoryTarget target;
    target.faults.sync_fails_at = nth;
    const Outcome outcome = pack(target);
    std::mt19937_64 random(nth);
    if (outcome.status.ok()) continue;  // that operation was none
    target.lose_power(random);
    finish(target);
  }
}

TEST_F(PackerTest, StopsWhenAskedAndGoesOn) {
  for (int nth = 1; nth < 40; nth += 3) {
    MemoryTarget target;
    std::atomic<bool> cancel = false;
    PackOptions options = small();
    options.cancel = &cancel;
    int chunks = 0;
    options.progress = [&](std::uint64_t) { cancel = ++chunks == nth; };
    const Outcome stopped = pack(target, std::move(options));
    if (stopped.status.ok()) break;
    EXPECT_EQ(stopped.status.code(), ErrorCode::kCancelled);
    EXPECT_FALSE(target.published);
    EXPECT_EQ(finish(target).resumed, stopped.kept);
  }
}

TEST_F(PackerTest, EveryReadThatFailsIsReportedAndOthersAreKept) {
  FaultyReader counting(test::any_reader());
  MemoryTarget whole;
  ASSERT_TRUE(pack(whole, counting).status.ok());
  const std::uint64_t reads = counting.fault_counters().submitted;
  ASSERT_GT(reads, 100u);
  for (std::uint64_t nth = 1; nth <= reads; nth += 8) {
    for (const ReadFault::Kind kind : {ReadFault::Kind::kFail, ReadFault::Kind::kShort}) {
      FaultyReader faulty(test::any_reader());
      faulty.add_fault({.kind = kind, .nth = nth});
      MemoryTarget target;
      const Outcome outcome = pack(target, faulty);
      EXPECT_EQ(outcome.status.code(), ErrorCode::kIo) << nth;
      EXPECT_THAT(outcome.status.message(), HasSubstr(".bin"));
      EXPECT_FALSE(target.published);
      EXPECT_EQ(finish(target).resumed, outcome.kept);
    }
  }
}

TEST_F(PackerTest, ReadsThatComeLateChangeNothing) {
  FaultyReader faulty(test::any_reader());
  faulty.add_fault({.kind = ReadFault::Kind::kDelay, .nth = 1, .times = 10'000, .behind = 3});
  MemoryTarget target;
  ASSERT_TRUE(pack(target, faulty).status.ok());
  EXPECT_TRUE(target.published == sample.bytes);
}

/// Leaves a target with about half of the store in it. How many bytes of it are in the journal.
std::uint64_t pack_half(MemoryTarget& target, const SamplePlan& sample) {
  const auto each_its_own = test::any_reader();
  target.partial().set_most_bytes(sample.bytes.size() / 2);
  const auto packer = Packer::begin(sample.plan, *each_its_own, target, small());
  if (!packer.ok()) throw std::runtime_error(packer.status().message());
  EXPECT_FALSE((*packer)->run().ok());
  EXPECT_GT((*packer)->kept_bytes(), 0u);
  target.partial().set_most_bytes(test::kNever);
  return (*packer)->kept_bytes();
}

TEST_F(PackerTest, AChangedSourceIsRefusedAndSaidSo) {
  namespace fs = std::filesystem;
  const std::string& source = sample.plan.files[1];
  const auto time = fs::last_write_time(source);
  const auto later = [&] { fs::last_write_time(source, time + std::chrono::milliseconds(1)); };
  const auto longer = [&] {
    fs::resize_file(source, fs::file_size(source) + 1);
    fs::last_write_time(source, time);
  };
  const auto elsewhere = [&] {
    const std::string other = folder / "other.bin";
    fs::copy(source, other);
    fs::last_write_time(other, time);
    sample.plan.files[1] = other;
  };
  const std::pair<std::function<void()>, const char*> changes[] = {
      {later, "changed, or touched, since"},
      {longer, "another size"},
      {elsewhere, "another model"}};
  for (const auto& [change, words] : changes) {
    MemoryTarget target;
    pack_half(target, sample);
    change();
    expect_refused(target, words);
  }
}

TEST_F(PackerTest, AnotherPlanIsRefusedAndSaidSo) {
  const auto changes = {
      +[](StorePlan& plan) { plan.head[100] ^= std::byte{1}; },
      +[](StorePlan& plan) { plan.copies[3].from.offset ^= 1; },
  };
  for (const auto change : changes) {
    const SamplePlan before = sample;
    MemoryTarget target;
    const std::uint64_t kept = pack_half(target, sample);
    change(sample.plan);
    expect_refused(target, "other options");
    sample = before;
    EXPECT_EQ(finish(target).resumed, kept);
  }
}

TEST_F(PackerTest, WhatIsOfAnotherPackAndHasNoBlockIsInNobodysWay) {
  const SamplePlan before = sample;
  for (const bool emptied : {true, false}) {
    sample = before;
    MemoryTarget target;
    pack_half(target, sample);
    if (emptied) {
      ASSERT_TRUE(target.partial().truncate(0).ok());  // as if it had been removed
    } else {
      ASSERT_TRUE(target.journal().truncate(64).ok());
    }
    sample.plan.head[100] ^= std::byte{1};
    sample.bytes[100] ^= std::byte{1};
    EXPECT_EQ(finish(target).resumed, 0u);
  }
}

TEST_F(PackerTest, ASourceThatChangesMeanwhileIsAnErrorAndNothingIsKept) {
  MemoryTarget target;
  PackOptions options = small();
  const std::string& source = sample.plan.files[0];
  options.progress = [&](std::uint64_t) {
    std::filesystem::last_write_time(source, std::filesystem::file_time_type::clock::now());
  };
  const Outcome outcome = pack(target, std::move(options));
  EXPECT_EQ(outcome.status.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(outcome.status.message(), HasSubstr(source));
  EXPECT_EQ(outcome.kept, 0u);
  EXPECT_FALSE(target.published);
  finish(target);
}

TEST_F(PackerTest, ASourceThatEndsTooEarlyIsNamed) {
  std::filesystem::resize_file(sample.plan.files[0], 30'000);
  MemoryTarget target;
  const Outcome outcome = pack(target);
  EXPECT_EQ(outcome.status.code(), ErrorCode::kIo);
  EXPECT_THAT(outcome.status.message(), HasSubstr(sample.plan.files[0]));
}

TEST_F(PackerTest, APartialFileThatWasCutGoesOnBehindItsLastWholeBlock) {
  for (const std::uint64_t left :
       {std::uint64_t{1}, std::uint64_t{20'000}, after(7) - 1, after(7)}) {
    MemoryTarget target;
    const std::uint64_t kept = pack_half(target, sample);
    ASSERT_TRUE(target.partial().truncate(left).ok());
    const Outcome outcome = finish(target);
    std::size_t whole = 0;
    while (sample.plan.blocks[whole].offset + sample.plan.blocks[whole].bytes <= left) ++whole;
    EXPECT_EQ(outcome.resumed, after(whole)) << left;
    EXPECT_EQ(outcome.damaged, kept - after(whole)) << left;
  }
}

TEST_F(PackerTest, AFlippedBitInWhatIsKeptIsFoundAndItsBlockPackedAgain) {
  std::mt19937_64 random(11);
  for (int turn = 0; turn < 60; ++turn) {
    MemoryTarget target;
    const std::uint64_t kept = pack_half(target, sample);
    const std::uint64_t at = random() % kept;
    const std::byte flipped = target.partial().bytes()[at] ^ std::byte(1 << turn % 8);
    ASSERT_TRUE(target.partial().write(at, {&flipped, 1}).ok());
    const Outcome outcome = finish(target);  // the very bytes, padding and head included
    if (at < sample.plan.head.size()) {
      EXPECT_EQ(outcome.damaged, 0u);  // written again, whatever it is
      continue;
    }
    std::size_t block = 0;
    while (after(block + 1) <= at) ++block;
    EXPECT_EQ(outcome.resumed, block == 0 ? 0 : after(block)) << at;
    EXPECT_EQ(outcome.damaged, kept - outcome.resumed) << at;
  }
}

TEST_F(PackerTest, AStopWhileItReadsBackLosesNothing) {
  MemoryTarget target;
  const std::uint64_t kept = pack_half(target, sample);
  const std::vector<std::byte> before = target.partial().bytes();
  std::atomic<bool> cancel = false;
  PackOptions options = small();
  options.cancel = &cancel;
  std::vector<std::uint64_t> seen;
  options.checking = [&](std::uint64_t right, std::uint64_t listed) {
    EXPECT_EQ(listed, kept);
    seen.push_back(right);
    cancel = seen.size() == 3;
  };
  EXPECT_EQ(pack(target, std::move(options)).status.code(), ErrorCode::kCancelled);
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_TRUE(target.partial().bytes() == before);
  EXPECT_EQ(finish(target).resumed, kept);
}

TEST_F(PackerTest, AStoreWhoseJournalWasLeftWasPackedAlready) {
  MemoryTarget target;
  finish(target);
  const std::uint64_t operations = target.faults.operations;
  EXPECT_EQ(finish(target).resumed, sample.bytes.size());
  EXPECT_EQ(target.faults.operations, operations + 1);  // publishing
}

TEST_F(PackerTest, ANameThatIsTakenIsNotTakenForWhatTheJournalIsOf) {
  const auto others = {
      +[](MemoryTarget& target) { return target.partial().write(99, {{std::byte{0xa5}}}); },
      +[](MemoryTarget& target) {
        return target.partial().write(target.published->size() - 20, {{std::byte{0xa5}}});
      },
      +[](MemoryTarget& target) { return target.partial().truncate(target.published->size() - 1); },
      +[](MemoryTarget& target) {
        return target.journal().truncate(target.journal().bytes().size() - 1);
      },
      +[](MemoryTarget& target) { return target.journal().truncate(0); },
  };
  for (const auto other : others) {
    MemoryTarget target;
    finish(target);
    ASSERT_TRUE(other(target).ok());
    const std::vector<std::byte> there = target.partial().bytes(),
                                 journal = target.journal().bytes();
    const Outcome outcome = pack(target);
    EXPECT_EQ(outcome.status.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(outcome.status.message(), HasSubstr("memory.slc: is there already"));
    EXPECT_TRUE(target.partial().bytes() == there && target.journal().bytes() == journal);
  }
}

TEST_F(PackerTest, WhatNobodyPackedIsLeftAsItIs) {
  MemoryTarget target;
  const std::vector<std::byte> mine(10, std::byte{1});
  ASSERT_TRUE(target.partial().write(0, mine).ok());
  const Outcome outcome = pack(target);
  EXPECT_EQ(outcome.status.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(outcome.status.message(), HasSubstr("memory.slc.partial:"));
  EXPECT_EQ(target.partial().bytes(), mine);
  EXPECT_TRUE(target.journal().bytes().empty());
}

TEST_F(PackerTest, SaysHowMuchRoomIsMissingBeforeItBegins) {
  MemoryTarget target;
  target.free = sample.bytes.size() - 1024;
  const Outcome outcome = pack(target);
  EXPECT_EQ(outcome.status.code(), ErrorCode::kIo);
  EXPECT_THAT(outcome.status.message(), HasSubstr("1K are missing"));
  EXPECT_TRUE(target.partial().bytes().empty());
  target.free = test::kNever;
  pack_half(target, sample);  // then the rest is all that it takes
  target.free = sample.bytes.size() - 100'000;
  finish(target);
}

}  // namespace
}  // namespace sluice

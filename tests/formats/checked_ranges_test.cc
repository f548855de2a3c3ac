// What was read of blocks is held against their checksums, however it was cut.

#include "formats/checked_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "formats/store_format.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/nested_source.h"
#include "tests/support/written_store.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

class CheckedRangesTest : public ::testing::Test {
 protected:
  CheckedRangesTest() {
    const test::NestedSource source(folder_.path("source.bin"));
    const auto plan =
        plan_store(source.checkpoint, {.nest = [](const std::string&) { return true; }});
    bytes_ = test::written_store(*plan, /*seed=*/3);
    store_ = *open_checkpoint(folder_.write("a.slc", bytes_));
    reader_ = *make_block_reader(ReaderKind::kPread);
    files_ = {*reader_->open(store_.files[0])};
  }

  CheckedRanges checked() { return {store_, *reader_, files_, nullptr}; }
  std::uint64_t reads() const { return reader_->counters().requests; }

  RangeInMemory in_memory(std::uint64_t offset, std::uint64_t bytes) const {
    return {{0, offset, bytes}, reinterpret_cast<const std::byte*>(bytes_.data()) + offset};
  }

  /// A block cut anywhere, but for what lies between `hole` and `behind`.
  std::vector<RangeInMemory> pieces(const CheckedBlock& block, std::uint64_t hole = 0,
                                    std::uint64_t behind = 0) {
    std::vector<RangeInMemory> cut;
    const std::uint64_t end = block.offset + block.bytes;
    for (std::uint64_t at = block.offset; at < end;) {
      if (at == hole) at = behind;
      const std::uint64_t stop = at < hole ? hole : end;
      const std::uint64_t bytes = std::min(1 + random_() % 900, stop - at);
      if (bytes > 0) cut.push_back(in_memory(at, bytes));
      at += bytes;
    }
    return cut;
  }

  /// In calls of any number of them; the pieces of one in no order.
  Status check(CheckedRanges& ranges, std::vector<RangeInMemory> cut) {
    for (std::size_t at = 0; at < cut.size();) {
      const std::size_t count = std::min<std::size_t>(1 + random_() % 4, cut.size() - at);
      const auto first = cut.begin() + static_cast<std::ptrdiff_t>(at);
      std::vector<RangeInMemory> some(first, first + static_cast<std::ptrdiff_t>(count));
      std::shuffle(some.begin(), some.end(), random_);
      at += count;
      SLUICE_TRY(ranges.check(std::move(some), /*more=*/at < cut.size()));
    }
    return {};
  }

  void turn_over(std::uint64_t at, bool in_file) {
    bytes_[at] = static_cast<char>(bytes_[at] ^ 4);
    if (in_file) folder_.write("a.slc", bytes_);
  }

  test::TemporaryFolder folder_;
  std::string bytes_;
  Checkpoint store_;
  std::unique_ptr<BlockReader> reader_;
  std::vector<FileIndex> files_;
  std::mt19937_64 random_{5};
};

TEST_F(CheckedRangesTest, BlocksInPiecesAreNotReadAgain) {
  ASSERT_GT(store_.blocks.size(), 50u);
  std::vector<RangeInMemory> all;
  for (const CheckedBlock& block : store_.blocks) {
    const std::vector<RangeInMemory> cut = pieces(block);
    all.insert(all.end(), cut.begin(), cut.end());
  }
  CheckedRanges ranges = checked();
  const Status status = check(ranges, all);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(reads(), 0u);
}

TEST_F(CheckedRangesTest, ABitThatIsTurnedOverInMemoryIsFound) {
  for (const CheckedBlock& block : store_.blocks) {
    const std::uint64_t at = block.offset + random_() % block.bytes;
    turn_over(at, false);
    CheckedRanges ranges = checked();
    const Status status = check(ranges, pieces(block));
    EXPECT_EQ(status.code(), ErrorCode::kCorrupt) << block.offset;
    EXPECT_THAT(status.message(), HasSubstr("at offset " + std::to_string(block.offset) + " "));
    turn_over(at, false);
  }
  EXPECT_EQ(reads(), 0u);
}

TEST_F(CheckedRangesTest, WhatIsNotAllThereIsReadAgain) {
  for (const CheckedBlock& block : store_.blocks) {
    if (block.bytes < 200) continue;
    // In the middle, at its end, and on disk where memory has what is right.
    for (const std::uint64_t hole : {block.bytes / 3, block.bytes - 100}) {
      const std::uint64_t from = block.offset + hole;
      const std::vector<RangeInMemory> cut = pieces(block, from, from + 100);
      CheckedRanges ranges = checked();
      const std::uint64_t before = reads();
      EXPECT_TRUE(check(ranges, cut).ok()) << block.offset;
      EXPECT_GT(reads(), before);
      turn_over(from + 50, true);
      CheckedRanges again = checked();
      EXPECT_EQ(check(again, cut).code(), ErrorCode::kCorrupt) << block.offset;
      turn_over(from + 50, true);
    }
  }
}

TEST_F(CheckedRangesTest, NamesWhoseTheBlockIs) {
  const auto name_of = [&](const FileRange& range) {
    const CheckedBlock& block = *store_.block_of(range);
    turn_over(block.offset, true);
    CheckedRanges ranges = checked();
    const Status status = ranges.read(range).status();
    EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
    EXPECT_THAT(status.message(), HasSubstr("pack it again"));
    turn_over(block.offset, true);
    return status.message().substr(0, status.message().find(": "));
  };
  EXPECT_EQ(name_of(store_.tensors.at("token_embd.weight").ranges[0]),
            "tensor 'token_embd.weight'");
  const TensorInfo& up = store_.tensors.at("blk.3.ffn_up_exps.weight");
  EXPECT_EQ(name_of(up.ranges[2]), "layer 3, expert 2");
  EXPECT_EQ(name_of(up.nested->group(1, 0)), "layer 3, expert 1, group 0 of its planes");
  EXPECT_EQ(name_of(up.nested->group(2, 3)), "layer 3, expert 2, group 3 of its planes");
}

}  // namespace
}  // namespace sluice

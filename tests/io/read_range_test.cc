#include "io/read_range.h"

#include <gtest/gtest.h>

#include <vector>

#include "io/faulty_reader.h"
#include "tests/io/reader_kinds.h"
#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

using ReadRangeTest = test::EveryReader;
INSTANTIATE_TEST_SUITE_P(Readers, ReadRangeTest, testing::ValuesIn(test::reader_setups()),
                         test::setup_name);

constexpr std::size_t kSize = (4u << 20) + 321;

TEST_P(ReadRangeTest, AnyPlaceToAnyPlace) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(kSize + 8192);
  for (const std::size_t offset : {0u, 1u, 511u, 512u, 4097u, 1u << 20}) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{511},
                                    std::size_t{4096}, std::size_t{700'001}, kSize - offset}) {
      for (const std::size_t shift : {std::size_t{0}, std::size_t{3}, offset % 4096}) {
        std::memset(buffer.data(), 0xee, buffer.size());
        const std::span<std::byte> out(buffer.data() + 64 + shift, bytes);
        const Status status = read_range(reader(), *opened, offset, out);
        ASSERT_TRUE(status.ok()) << status.message();
        ASSERT_TRUE(test::matches(out, offset)) << offset << " " << bytes << " " << shift;
        ASSERT_EQ(*(out.data() - 1), std::byte{0xee});
        ASSERT_EQ(*(out.data() + bytes), std::byte{0xee});
      }
    }
  }
}

TEST_P(ReadRangeTest, WholeBlocksLandInPlaceWhereThePhaseAgrees) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  const std::size_t alignment = reader().alignment(*opened);
  AlignedBuffer buffer = memory(kSize + 8192);
  const std::size_t offset = 100, bytes = 3u << 20;
  ASSERT_TRUE(read_range(reader(), *opened, offset, {buffer.data() + 8192 + offset, bytes}).ok());
  EXPECT_TRUE(test::matches({buffer.data() + 8192 + offset, bytes}, offset));
  // No byte is read twice, and no more than a sector at each end is read in vain.
  EXPECT_LE(reader().counters().bytes, bytes + 2 * alignment);
}

TEST_P(ReadRangeTest, ManyRangesOfSeveralFiles) {
  const test::TemporaryFile first(kSize), second(100'000);
  std::vector<FileIndex> files;
  for (const auto* file : {&first, &second}) {
    auto opened = reader().open(file->path());
    ASSERT_TRUE(opened.ok());
    files.push_back(*opened);
  }
  std::vector<std::vector<std::byte>> places;
  std::vector<RangeRead> ranges;
  for (std::size_t i = 0; i < 200; ++i) {
    places.emplace_back(i * 37 % 5000);
    ranges.push_back({files[i % 2], i * 451, places.back()});
  }
  const Status status = read_ranges(reader(), ranges);
  ASSERT_TRUE(status.ok()) << status.message();
  for (const RangeRead& range : ranges) ASSERT_TRUE(test::matches(range.out, range.offset));
}

TEST_P(ReadRangeTest, PastTheEndIsAnErrorThatNamesTheFile) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  std::vector<std::byte> out(1u << 20);
  EXPECT_TRUE(read_range(reader(), *opened, kSize - out.size(), out).ok());
  const Status status = read_range(reader(), *opened, kSize - out.size() + 1, out);
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_NE(status.message().find(file.path()), std::string::npos) << status.message();
  EXPECT_EQ(read_range(reader(), *opened + 1, 0, out).code(), ErrorCode::kInvalidArgument);
  // Nothing is left under way.
  ReadCompletion completion;
  EXPECT_EQ(reader().reap(std::span(&completion, 1), true), 0u);
}

TEST_P(ReadRangeTest, AnyReadThatFailsFailsTheWhole) {
  const test::TemporaryFile file(kSize);
  std::vector<std::byte> out(kSize);
  for (std::uint64_t n = 1;; ++n) {
    ReaderOptions options;
    options.direct = GetParam().direct;
    auto inner = test::make_reader(GetParam().kind, options);
    if (!inner.ok()) GTEST_SKIP() << inner.status().message();
    FaultyReader faulty(std::move(inner).value());
    auto opened = faulty.open(file.path());
    ASSERT_TRUE(opened.ok());
    faulty.add_fault({.kind = ReadFault::Kind::kFail, .nth = n});
    const Status status = read_range(faulty, *opened, 0, out);
    const bool hit = faulty.fault_counters().faults > 0;
    EXPECT_NE(status.ok(), hit);
    EXPECT_EQ(faulty.fault_counters().delivered, faulty.fault_counters().submitted);
    // The next try is right.
    faulty.clear_faults();
    ASSERT_TRUE(read_range(faulty, *opened, 0, out).ok());
    ASSERT_TRUE(test::matches(out, 0));
    if (!hit) {
      EXPECT_GT(n, 4u);
      break;
    }
    if (n > 1000) FAIL() << "no end of reads";
  }
}

}  // namespace
}  // namespace sluice

#include "io/block_reader.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/io/reader_kinds.h"
#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

using BlockReaderTest = test::EveryReader;
INSTANTIATE_TEST_SUITE_P(Readers, BlockReaderTest, testing::ValuesIn(test::reader_setups()),
                         test::setup_name);

constexpr std::size_t kSize = (3u << 20) + 777;  // no multiple of a sector
constexpr std::size_t kBlock = 4096;

std::size_t round_up(std::size_t value) { return (value + kBlock - 1) / kBlock * kBlock; }

TEST_P(BlockReaderTest, ReadsWhatTheFileHolds) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ(reader().file_size(*opened), kSize);
  ASSERT_EQ(kBlock % reader().alignment(*opened), 0u);
  AlignedBuffer buffer = memory(round_up(kSize) + kBlock);
  std::mt19937 random(1);
  for (int round = 0; round < 100; ++round) {
    const std::size_t offset = random() % (kSize / kBlock) * kBlock;
    const std::size_t bytes = (1 + random() % 400) * kBlock;
    const std::size_t present = std::min(bytes, kSize - offset);
    std::memset(buffer.data(), 0xee, buffer.size());
    const Status status = read({*opened, offset, bytes, present, buffer.data() + kBlock, 5});
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(test::matches({buffer.data() + kBlock, present}, offset));
    // Nothing but the destination was written.
    ASSERT_EQ(buffer.data()[kBlock - 1], std::byte{0xee});
    if (kBlock + bytes < buffer.size()) {
      ASSERT_EQ(buffer.data()[kBlock + bytes], std::byte{0xee});
    }
  }
}

TEST_P(BlockReaderTest, NeededDecidesWhetherTheEndIsAnError) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(4 * kBlock);
  const std::size_t last = kSize / kBlock * kBlock;
  EXPECT_TRUE(read({*opened, last, 4 * kBlock, 0, buffer.data(), 1}).ok());
  EXPECT_TRUE(read({*opened, last, 4 * kBlock, kSize - last, buffer.data(), 2}).ok());
  EXPECT_TRUE(test::matches({buffer.data(), kSize - last}, last));
  const Status status = read({*opened, last, 4 * kBlock, kSize - last + 1, buffer.data(), 3});
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_NE(status.message().find(file.path()), std::string::npos) << status.message();
  EXPECT_NE(status.message().find(std::to_string(last)), std::string::npos) << status.message();
  EXPECT_NE(status.message().find(std::to_string(kSize)), std::string::npos) << status.message();
  // Wholly past the end.
  EXPECT_TRUE(read({*opened, last + kBlock, kBlock, 0, buffer.data(), 4}).ok());
  EXPECT_FALSE(read({*opened, last + kBlock, kBlock, 1, buffer.data(), 5}).ok());
}

/// Many requests in one submission, of which the reader holds some back.
void read_many(BlockReader& reader) {
  const test::TemporaryFile file(kSize);
  auto opened = reader.open(file.path());
  ASSERT_TRUE(opened.ok());
  constexpr std::size_t kCount = 300, kBytes = 5 * kBlock;
  auto allocated = AlignedBuffer::allocate(kCount * kBytes);
  ASSERT_TRUE(allocated.ok());
  AlignedBuffer buffer = std::move(*allocated);
  std::vector<ReadRequest> requests;
  for (std::size_t i = 0; i < kCount; ++i) {
    requests.push_back({*opened, i * 2 * kBlock, kBytes, kBytes, buffer.data() + i * kBytes, i});
  }
  ASSERT_TRUE(reader.submit(requests).ok());
  std::set<std::uint64_t> seen;
  std::vector<ReadCompletion> completions(7);
  while (const std::size_t count = reader.reap(completions, true)) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t tag = completions[i].tag;
      ASSERT_TRUE(completions[i].status.ok()) << completions[i].status.message();
      ASSERT_TRUE(seen.insert(tag).second);
      ASSERT_TRUE(test::matches({buffer.data() + tag * kBytes, kBytes}, tag * 2 * kBlock)) << tag;
    }
  }
  EXPECT_EQ(seen.size(), kCount);
  EXPECT_EQ(reader.counters().requests, kCount);
  EXPECT_EQ(reader.counters().bytes, kCount * kBytes);
}

TEST_P(BlockReaderTest, MoreThanTheDepthWaitsInside) {
  ReaderOptions options;
  options.depth = 3;
  options.piece_bytes = 2 * kBlock;  // so that requests are split, too
  remake(options);
  if (IsSkipped()) return;
  EXPECT_EQ(reader().info().depth, 3u);
  read_many(reader());
}

TEST_P(BlockReaderTest, MoreThanTheBytesInFlightWaitsInside) {
  for (const std::size_t limit : {std::size_t{1}, 3 * kBlock, std::size_t{1} << 20}) {
    SCOPED_TRACE(limit);
    ReaderOptions options;
    options.piece_bytes = 2 * kBlock;
    remake(options);
    if (IsSkipped()) return;
    reader().limit_in_flight(limit);
    read_many(reader());
  }
}

TEST_P(BlockReaderTest, PollingFindsWhatIsDone) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(kBlock);
  const ReadRequest request = {*opened, 0, kBlock, kBlock, buffer.data(), 9};
  ASSERT_TRUE(reader().submit(std::span(&request, 1)).ok());
  ReadCompletion completion;
  while (reader().reap(std::span(&completion, 1), false) == 0) {
  }
  EXPECT_EQ(completion.tag, 9u);
  EXPECT_TRUE(test::matches({buffer.data(), kBlock}, 0));
}

TEST_P(BlockReaderTest, NothingUnderWayIsNothingToWaitFor) {
  ReadCompletion completion;
  EXPECT_EQ(reader().reap(std::span(&completion, 1), true), 0u);
  EXPECT_EQ(reader().reap(std::span(&completion, 1), false), 0u);
  EXPECT_EQ(reader().reap({}, true), 0u);
}

TEST_P(BlockReaderTest, ARefusedBatchLeavesNothingBehind) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(kBlock);
  const std::vector<ReadRequest> requests = {
      {*opened, 0, kBlock, kBlock, buffer.data(), 1},
      {*opened + 1, 0, kBlock, kBlock, buffer.data(), 2},
  };
  EXPECT_EQ(reader().submit(requests).code(), ErrorCode::kInvalidArgument);
  ReadCompletion completion;
  EXPECT_EQ(reader().reap(std::span(&completion, 1), true), 0u);
}

TEST_P(BlockReaderTest, AFileCutShortWhileOpenIsNamedWithTheOffset) {
  test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  file.truncate(1u << 20);
  AlignedBuffer buffer = memory(1u << 20);
  const Status status = read({*opened, 3u << 19, 64 * kBlock, 64 * kBlock, buffer.data(), 1});
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_NE(status.message().find(file.path()), std::string::npos) << status.message();
  EXPECT_NE(status.message().find(std::to_string(3u << 19)), std::string::npos) << status.message();
  const std::string sizes = "the file has " + std::to_string(1u << 20) + " bytes now and had " +
                            std::to_string(kSize) + " when it was opened";
  EXPECT_NE(status.message().find(sizes), std::string::npos) << status.message();
  // What is still there can still be read.
  EXPECT_TRUE(read({*opened, 0, 1u << 20, 1u << 20, buffer.data(), 2}).ok());
  EXPECT_TRUE(test::matches({buffer.data(), 1u << 20}, 0));
}

TEST_P(BlockReaderTest, ReadingLeavesNothingInThePageCache) {
  const test::TemporaryFile file(kSize);
  if (file.resident_pages() != 0) GTEST_SKIP() << "this file system does not let go of its pages";
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(round_up(kSize));
  ASSERT_TRUE(read({*opened, 0, round_up(kSize), kSize, buffer.data(), 1}).ok());
  EXPECT_TRUE(test::matches({buffer.data(), kSize}, 0));
  EXPECT_EQ(file.resident_pages(), 0u);
}

std::uint64_t kernel_read_bytes() {
  std::ifstream facts("/proc/self/io");
  std::string key;
  std::uint64_t value = 0;
  while (facts >> key >> value) {
    if (key == "read_bytes:") return value;
  }
  return 0;
}

TEST_P(BlockReaderTest, CountsTheBytesThatTheKernelCounts) {
  constexpr std::size_t kLarge = (24u << 20) + 100;
  const test::TemporaryFile file(kLarge);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  if (!reader().info().direct) GTEST_SKIP() << "not a direct file: the page cache counts otherwise";
  if (kernel_read_bytes() == 0 && !std::filesystem::exists("/proc/self/io")) {
    GTEST_SKIP() << "this kernel does not count";
  }
  AlignedBuffer buffer = memory(round_up(kLarge));
  const std::uint64_t before = kernel_read_bytes();
  ASSERT_TRUE(read({*opened, 0, round_up(kLarge), kLarge, buffer.data(), 1}).ok());
  const auto counted = static_cast<double>(kernel_read_bytes() - before);
  EXPECT_NEAR(counted, static_cast<double>(reader().counters().bytes), 0.02 * counted);
}

TEST_P(BlockReaderTest, MayGoWhileReadsAreUnderWay) {
  const test::TemporaryFile file(kSize);
  AlignedBuffer buffer = memory(64 * kBlock * 16);
  for (int round = 0; round < 5; ++round) {
    ReaderOptions options;
    options.depth = 4;
    remake(options);
    if (IsSkipped()) return;
    auto opened = reader().open(file.path());
    ASSERT_TRUE(opened.ok());
    std::vector<ReadRequest> requests;
    for (std::size_t i = 0; i < 64; ++i) {
      requests.push_back({*opened, 0, 16 * kBlock, 0, buffer.data() + i * 16 * kBlock, i});
    }
    ASSERT_TRUE(reader().submit(requests).ok());
    drop_reader();
    std::memset(buffer.data(), 0xcd, buffer.size());
    for (std::size_t i = 0; i < buffer.size(); ++i) ASSERT_EQ(buffer.data()[i], std::byte{0xcd});
  }
}

TEST_P(BlockReaderTest, RegisteredMemoryReadsTheSame) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  constexpr std::size_t kBytes = 16 * kBlock;
  AlignedBuffer inside = memory(kBytes), outside = memory(kBytes);
  reader().register_memory({inside.data(), kBytes / 2});  // the second half is not registered
  EXPECT_TRUE(read({*opened, 0, kBytes, kBytes, inside.data(), 1}).ok());
  EXPECT_TRUE(read({*opened, kBlock, kBlock, kBlock, outside.data(), 1}).ok());
  EXPECT_TRUE(test::matches({inside.data(), kBytes}, 0));
  EXPECT_TRUE(test::matches({outside.data(), kBlock}, kBlock));
  EXPECT_TRUE(read({*opened, 2 * kBlock, kBlock, kBlock, inside.data() + kBlock, 1}).ok());
  EXPECT_TRUE(test::matches({inside.data() + kBlock, kBlock}, 2 * kBlock));
}

TEST_P(BlockReaderTest, ForgottenMemoryMayBeMappedAnew) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  constexpr std::size_t kBytes = 16 * kBlock;
  AlignedBuffer buffer = memory(kBytes);
  const std::span<std::byte> span(buffer.data(), kBytes);
  reader().register_memory(span);
  ASSERT_TRUE(read({*opened, 0, kBytes, kBytes, buffer.data(), 1}).ok());
  reader().forget_memory(span);
  // New pages at the old address: a stale registration would read into the old ones.
  ASSERT_EQ(::mmap(buffer.data(), kBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            buffer.data());
  ASSERT_TRUE(read({*opened, kBlock, kBytes, kBytes, buffer.data(), 1}).ok());
  EXPECT_TRUE(test::matches({buffer.data(), kBytes}, kBlock));
}

TEST_P(BlockReaderTest, FilesInMemoryNeedNoAlignment) {
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "no /dev/shm here";
  const test::TemporaryFile file(100'001, "/dev/shm");
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ(reader().alignment(*opened), 1u);
  EXPECT_FALSE(reader().info().direct);
  AlignedBuffer buffer = memory(100'000);
  EXPECT_TRUE(read({*opened, 13, 99'000, 99'000, buffer.data() + 7, 1}).ok());
  EXPECT_TRUE(test::matches({buffer.data() + 7, 99'000}, 13));
}

TEST_P(BlockReaderTest, ManyFilesAtOnce) {
  constexpr std::size_t kFiles = 300;  // more than the ring registers
  const test::TemporaryFile file(2 * kBlock);
  AlignedBuffer buffer = memory(kFiles * kBlock);
  std::vector<ReadRequest> requests;
  for (std::size_t i = 0; i < kFiles; ++i) {
    auto opened = reader().open(file.path());
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    requests.push_back({*opened, i % 2 * kBlock, kBlock, kBlock, buffer.data() + i * kBlock, i});
  }
  ASSERT_TRUE(reader().submit(requests).ok());
  std::vector<ReadCompletion> completions(kFiles);
  std::size_t done = 0;
  while (const std::size_t count = reader().reap(completions, true)) {
    for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(completions[i].status.ok());
    done += count;
  }
  EXPECT_EQ(done, kFiles);
  for (std::size_t i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(test::matches({buffer.data() + i * kBlock, kBlock}, i % 2 * kBlock)) << i;
  }
}

TEST_P(BlockReaderTest, AMissingFileIsNotFound) {
  auto opened = reader().open("/nowhere/to/be/found");
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), ErrorCode::kNotFound);
}

/// Sets SLUICE_READER for the time of a test.
class ForcedReader {
 public:
  explicit ForcedReader(const char* value) { ::setenv("SLUICE_READER", value, 1); }
  ~ForcedReader() { ::unsetenv("SLUICE_READER"); }
};

TEST(MakeBlockReader, TheEnvironmentForcesAReader) {
  const ForcedReader forced("pread");
  auto reader = make_block_reader(ReaderKind::kAuto);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ((*reader)->info().name, "pread pool");
  EXPECT_EQ((*reader)->info().why, "SLUICE_READER=pread");
}

TEST(MakeBlockReader, AnUnknownReaderIsRefused) {
  const ForcedReader forced("carrier-pigeon");
  auto reader = make_block_reader(ReaderKind::kAuto);
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(reader.status().message().find("carrier-pigeon"), std::string::npos);
}

TEST(MakeBlockReader, ReadsWhateverTheChoice) {
  const test::TemporaryFile file(2 * kBlock);
  auto reader = make_block_reader(ReaderKind::kAuto);
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  const ReaderInfo info = (*reader)->info();
  if (auto ring = make_uring_reader(); ring.ok()) {
    EXPECT_EQ(info.name, "io_uring");
    EXPECT_EQ(info.why, "the kernel grants a ring");
  } else {
    EXPECT_EQ(info.name, "pread pool");
    EXPECT_EQ(info.why, ring.status().message());
  }
  auto opened = (*reader)->open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = std::move(AlignedBuffer::allocate(kBlock)).value();
  const ReadRequest request = {*opened, kBlock, kBlock, kBlock, buffer.data(), 3};
  ASSERT_TRUE((*reader)->submit(std::span(&request, 1)).ok());
  ReadCompletion completion;
  ASSERT_EQ((*reader)->reap(std::span(&completion, 1), true), 1u);
  EXPECT_TRUE(completion.status.ok());
  EXPECT_TRUE(test::matches({buffer.data(), kBlock}, kBlock));
}

}  // namespace
}  // namespace sluice

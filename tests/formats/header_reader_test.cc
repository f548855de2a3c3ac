// Reading, its limits, and what is left in the page cache.

#include "formats/header_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

TEST(HeaderReader, ReadsAcrossItsBufferAndCountsBytes) {
  test::TemporaryFolder folder;
  std::string contents;
  for (std::uint32_t i = 0; i < 100000; ++i) contents += test::raw(i);
  auto reader = HeaderReader::open(folder.write("f", "x" + contents));
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE(reader->skip(1, "first").ok());
  for (std::uint32_t i = 0; i < 50000; ++i) ASSERT_EQ(*reader->read<std::uint32_t>("number"), i);
  EXPECT_EQ(reader->position(), 200001u);
  std::string rest;
  ASSERT_TRUE(reader->read_text(rest, reader->remaining(), "rest").ok());
  EXPECT_EQ(rest, contents.substr(200000));
  const auto beyond = reader->read<std::uint8_t>("one more");
  EXPECT_EQ(beyond.status().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(beyond.status().message(), HasSubstr("one more at byte 400001"));
  EXPECT_FALSE(reader->skip(1, "one more").ok());
}

TEST(HeaderReader, ALengthBeyondTheFileAllocatesNothing) {
  test::TemporaryFolder folder;
  auto reader = HeaderReader::open(folder.write("f", "short"));
  std::string text;
  EXPECT_FALSE(reader->read_text(text, std::uint64_t{1} << 62, "text").ok());
  EXPECT_LT(text.capacity(), 100u);
}

TEST(HeaderReader, LeavesNothingInThePageCache) {
  char pattern[] = "/var/tmp/sluice-XXXXXX";  // a disk, where /tmp may be memory
  const int descriptor = ::mkstemp(pattern);
  ASSERT_GE(descriptor, 0);
  constexpr std::size_t kBytes = std::size_t{8} << 20;
  const std::string contents(kBytes, 'w');
  ASSERT_EQ(::write(descriptor, contents.data(), kBytes), static_cast<ssize_t>(kBytes));
  ::fsync(descriptor);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  void* map = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, descriptor, 0);
  ASSERT_NE(map, MAP_FAILED);
  const auto resident = [&] {
    std::vector<unsigned char> pages(kBytes / 4096);
    ::mincore(map, kBytes, pages.data());
    std::size_t count = 0;
    for (const unsigned char page : pages) count += page & 1;
    return count;
  };
  const std::size_t before = resident();
  {
    auto reader = HeaderReader::open(pattern);
    ASSERT_TRUE(reader.ok());
    std::string text;
    ASSERT_TRUE(reader->read_text(text, 1000003, "text").ok());
  }
  const std::size_t after = resident();
  ::munmap(map, kBytes);
  ::close(descriptor);
  ::unlink(pattern);
  if (before > 0) GTEST_SKIP() << "this file system keeps its pages";
  EXPECT_LE(after, 8u);
}

}  // namespace
}  // namespace sluice

#include "io/open_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/io/child_process.h"
#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

TEST(OpenFile, KnowsSizeAndAlignment) {
  const test::TemporaryFile file(12'345);
  auto direct = OpenFile::open(file.path(), true);
  ASSERT_TRUE(direct.ok()) << direct.status().message();
  EXPECT_EQ(direct->size(), 12'345u);
  EXPECT_EQ(direct->direct(), direct->alignment() != 1);
  EXPECT_TRUE(direct->alignment() == 1 || direct->alignment() == 512 ||
              direct->alignment() == 4096);

  auto buffered = OpenFile::open(file.path(), false);
  ASSERT_TRUE(buffered.ok());
  EXPECT_EQ(buffered->alignment(), 1u);
  EXPECT_FALSE(buffered->direct());
}

TEST(OpenFile, AnEmptyFileOpens) {
  const test::TemporaryFile file(0);
  auto opened = OpenFile::open(file.path(), true);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ(opened->size(), 0u);
}

TEST(OpenFile, MemoryFileSystemsAreBuffered) {
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "no /dev/shm here";
  const test::TemporaryFile file(5000, "/dev/shm");
  auto opened = OpenFile::open(file.path(), true);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ(opened->alignment(), 1u);
}

TEST(OpenFile, AMissingFileIsNamed) {
  auto opened = OpenFile::open("/nowhere/to/be/found", true);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), ErrorCode::kNotFound);
  EXPECT_NE(opened.status().message().find("/nowhere/to/be/found"), std::string::npos);
}

TEST(OpenFile, ADirectoryIsRefused) {
  auto opened = OpenFile::open(std::filesystem::temp_directory_path().string(), true);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(opened.status().message().find("directory"), std::string::npos);
}

TEST(OpenFile, APipeIsRefusedWithoutWaiting) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("sluice-pipe-" + std::to_string(::getpid())))
          .string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  auto opened = OpenFile::open(path, true);
  ::unlink(path.c_str());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), ErrorCode::kInvalidArgument);
}

TEST(OpenFile, AFileThatMayNotBeReadSaysSo) {
  const test::TemporaryFile file(100);
  ::chmod(file.path().c_str(), 0);
  const std::string verdict = test::in_child([&]() -> std::string {
    // Root may read everything: become nobody.
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return "cannot become nobody";
    auto opened = OpenFile::open(file.path(), true);
    if (opened.ok()) return "opened";
    if (opened.status().code() != ErrorCode::kIo) return "wrong code";
    return opened.status().message().find("Permission denied") != std::string::npos
               ? ""
               : opened.status().message();
  });
  EXPECT_EQ(verdict, "");
}

}  // namespace
}  // namespace sluice

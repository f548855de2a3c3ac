#include "store/file_target.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "sample_plan.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using test::read_file;
using test::TemporaryFolder;
using test::write_file;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::byte> kBytes = {std::byte{1}, std::byte{2}, std::byte{3}};

/// Pages of the file's first `bytes` that are in the page cache.
std::size_t cached_pages(const std::string& path, std::size_t bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  if (map == MAP_FAILED) throw std::runtime_error("mmap " + path);
  std::vector<unsigned char> present(bytes / 4096);
  ::mincore(map, bytes, present.data());
  ::munmap(map, bytes);
  return static_cast<std::size_t>(
      std::ranges::count_if(present, [](unsigned char flag) { return (flag & 1) != 0; }));
}

class FileTargetTest : public testing::Test {
 protected:
  Result<std::unique_ptr<FileTarget>> open(const std::string& name) {
    return FileTarget::open(folder / name, {});
  }
  void expect_refused(const std::string& path, const std::string& word,
                      ErrorCode code = ErrorCode::kInvalidArgument) {
    const auto target = FileTarget::open(path, {});
    EXPECT_EQ(target.status().code(), code) << path;
    EXPECT_THAT(target.status().message(), HasSubstr(word));
  }

  TemporaryFolder folder;
};

TEST_F(FileTargetTest, PublishesWhatWasWritten) {
  {
    auto target = open("a.slc");
    ASSERT_TRUE(target.ok()) << target.status().message();
    EXPECT_EQ((*target)->path(), folder / "a.slc");
    EXPECT_THAT(folder.names(), ElementsAre("a.slc.partial", "a.slc.partial.journal"));
    PackFile& partial = (*target)->partial();
    ASSERT_TRUE(partial.write(5, kBytes).ok());
    ASSERT_TRUE(partial.write(0, kBytes).ok());
    EXPECT_EQ(*partial.size(), 8u);
    std::vector<std::byte> read(4);
    ASSERT_TRUE(partial.read(4, read).ok());
    EXPECT_THAT(read, ElementsAre(std::byte{0}, std::byte{1}, std::byte{2}, std::byte{3}));
    EXPECT_FALSE(partial.read(5, read).ok());
    ASSERT_TRUE(partial.truncate(7).ok());
    ASSERT_TRUE(partial.sync().ok());
    ASSERT_TRUE((*target)->publish().ok());
  }
  EXPECT_THAT(folder.names(), ElementsAre("a.slc"));
  EXPECT_EQ(read_file(folder / "a.slc").size(), 7u);
}

TEST_F(FileTargetTest, WhatIsUnfinishedStaysAndIsOpenedAgain) {
  for (int i = 1; i <= 2; ++i) {
    auto target = open("a.slc");
    ASSERT_TRUE(target.ok());
    EXPECT_EQ(*(*target)->partial().size(), i == 1 ? 0u : 3u);
    ASSERT_TRUE((*target)->partial().write(0, kBytes).ok());
    ASSERT_TRUE((*target)->journal().write(0, kBytes).ok());
  }
  EXPECT_THAT(folder.names(), ElementsAre("a.slc.partial", "a.slc.partial.journal"));
}

TEST_F(FileTargetTest, WhatIsEmptyGoes) {
  {
    auto target = open("a.slc");
    ASSERT_TRUE(target.ok());
    ASSERT_TRUE((*target)->journal().write(0, kBytes).ok());
  }
  EXPECT_THAT(folder.names(), IsEmpty());
  write_file(folder / "a.slc.partial.journal", kBytes);  // somebody's
  write_file(folder / "b.slc.partial", kBytes);
  ASSERT_TRUE(open("a.slc").ok());
  ASSERT_TRUE(open("b.slc").ok());
  EXPECT_THAT(folder.names(), ElementsAre("a.slc.partial.journal", "b.slc.partial"));
}

TEST_F(FileTargetTest, ReplacesNothing) {
  write_file(folder / "a.slc", kBytes);
  expect_refused(folder / "a.slc", "is there already");
  fs::create_symlink("nowhere", folder / "link.slc");
  expect_refused(folder / "link.slc", "is there already");
  EXPECT_EQ(read_file(folder / "a.slc"), kBytes);
  EXPECT_THAT(folder.names(), ElementsAre("a.slc", "link.slc"));

  auto target = open("b.slc");
  ASSERT_TRUE(target.ok());
  ASSERT_TRUE((*target)->partial().write(0, {kBytes.data(), 1}).ok());
  write_file(folder / "b.slc", kBytes);  // meanwhile
  const Status late = (*target)->publish();
  EXPECT_EQ(late.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(late.message(), HasSubstr("is there already"));
  EXPECT_EQ(read_file(folder / "b.slc"), kBytes);
  EXPECT_TRUE(fs::exists(folder / "b.slc.partial"));
}

TEST_F(FileTargetTest, AFolderIsNoFile) {
  expect_refused(folder / "", "is a folder");
  fs::create_directory(folder / "sub");
  expect_refused(folder / "sub", "is a folder");
  expect_refused(folder / "none/a.slc", "no such folder");
  fs::create_directory(folder / "c.slc.partial");
  expect_refused(folder / "c.slc", "c.slc.partial", ErrorCode::kIo);
  ASSERT_EQ(::mkfifo((folder / "d.slc.partial").c_str(), 0600), 0);
  expect_refused(folder / "d.slc", "not a regular file");
  fs::create_symlink(folder / "elsewhere", folder / "e.slc.partial");
  expect_refused(folder / "e.slc", "e.slc.partial", ErrorCode::kIo);
  EXPECT_FALSE(fs::exists(folder / "elsewhere"));
}

TEST_F(FileTargetTest, OneAtATime) {
  auto first = open("a.slc");
  ASSERT_TRUE(first.ok());
  expect_refused(folder / "a.slc", "another 'sluice pack' is at it");
  ASSERT_TRUE(open("b.slc").ok());
  ASSERT_TRUE((*first)->partial().write(0, kBytes).ok());
  (*first).reset();
  ASSERT_TRUE(open("a.slc").ok());
}

TEST_F(FileTargetTest, TheSourceIsNotWrittenTo) {
  write_file(folder / "a.slc.partial", kBytes);
  write_file(folder / "b.slc.partial.journal", kBytes);
  for (const std::string name : {"a.slc", "b.slc"}) {
    const auto target = FileTarget::open(
        folder / name, {folder / "a.slc.partial", folder / "b.slc.partial.journal"});
    EXPECT_EQ(target.status().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(target.status().message(), HasSubstr("what is to be packed"));
  }
  EXPECT_EQ(read_file(folder / "a.slc.partial"), kBytes);
  EXPECT_EQ(read_file(folder / "b.slc.partial.journal"), kBytes);
}

TEST_F(FileTargetTest, ALimitOfTheSystemIsAnErrorWithItsRemedy) {
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  auto target = open("a.slc");
  ASSERT_TRUE(target.ok());
  const rlimit limit = {.rlim_cur = 2, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const Status status = (*target)->partial().write(0, kBytes);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_THAT(status.message(), HasSubstr("a.slc.partial: cannot be written: File too large"));
  EXPECT_THAT(status.message(), HasSubstr("ulimit -f"));
}

TEST_F(FileTargetTest, TheSystemsReasonIsSaid) {
  EXPECT_GT(*(*open("a.slc"))->free_bytes(), 0u);
  // A folder in which not even root makes files.
  const auto refused = FileTarget::open("/proc/a.slc", {});
  EXPECT_EQ(refused.status().code(), ErrorCode::kIo);
  EXPECT_THAT(refused.status().message(), HasSubstr("/proc/a.slc.partial: cannot be created: "));
}

TEST_F(FileTargetTest, WhatIsSyncedIsNotInThePageCache) {
  struct statfs facts = {};
  ASSERT_EQ(::statfs((folder / "").c_str(), &facts), 0);
  if (facts.f_type == TMPFS_MAGIC) GTEST_SKIP() << "files here are nowhere else";
  auto target = open("a.slc");
  ASSERT_TRUE(target.ok());
  const std::vector<std::byte> bytes(1 << 20, std::byte{7});
  ASSERT_TRUE((*target)->partial().write(0, bytes).ok());
  ASSERT_TRUE((*target)->partial().sync().ok());
  EXPECT_LT(cached_pages(folder / "a.slc.partial", bytes.size()), 16u);  // of 256
}

}  // namespace
}  // namespace sluice

// Packs that are killed for real, at any moment, and go on.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "sample_plan.h"
#include "store/file_target.h"
#include "store/packer.h"
#include "tests/support/nested_source.h"
#include "tests/support/packed_store.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using test::read_file;
using test::SamplePlan;
using test::TemporaryFolder;
using Time = std::chrono::steady_clock;

constexpr int kPacked = 0, kFailed = 1, kKilled = -1;

int pack(const StorePlan& plan, const std::string& path) {
  auto reader = make_block_reader(ReaderKind::kPread, 4);
  auto target = FileTarget::open(path, plan.files);
  if (!reader.ok() || !target.ok()) return kFailed;
  auto packer =
      Packer::begin(plan, **reader, **target,
                    {.chunk_bytes = 4096 * 16,
                     .sync_bytes = std::min<std::uint64_t>(200'000, plan.file_bytes / 4)});
  return packer.ok() && (*packer)->run().ok() ? kPacked : kFailed;
}

pid_t start_pack(const StorePlan& plan, const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(pack(plan, path));
  return child;
}

/// Its exit status; kKilled if it had none.
int end_of(pid_t child) {
  int outcome = 0;
  EXPECT_EQ(::waitpid(child, &outcome, 0), child);
  return WIFEXITED(outcome) ? WEXITSTATUS(outcome) : kKilled;
}

/// Blocks in the journal of a pack that was killed: whole records behind its head.
std::uintmax_t journalled(const std::string& path) {
  std::error_code none;
  const std::uintmax_t bytes = fs::file_size(path + ".partial.journal", none);
  return none || bytes < 64 ? 0 : (bytes - 64) / 24;
}

/// Kills packs of the plan, which become these bytes, at any moment, and goes on with them.
void kill_and_go_on(const StorePlan& plan, const std::vector<std::byte>& bytes,
                    const std::string& path, int kills) {
  const auto begun = Time::now();
  ASSERT_EQ(end_of(start_pack(plan, path)), kPacked);
  const double seconds = std::chrono::duration<double>(Time::now() - begun).count();
  ASSERT_TRUE(read_file(path) == bytes);
  fs::remove(path);

  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> moment(0, seconds);
  int killed = 0;
  std::uintmax_t kept = 0;
  while (killed < kills) {
    const pid_t child = start_pack(plan, path);
    std::this_thread::sleep_for(std::chrono::duration<double>(moment(random)));
    ::kill(child, SIGKILL);
    const int outcome = end_of(child);
    ASSERT_NE(outcome, kFailed);
    killed += outcome == kKilled ? 1 : 0;
    if (!fs::exists(path)) {
      // What the one before had journalled is not lost: this one went on there.
      EXPECT_GE(journalled(path), kept);
      kept = journalled(path);
      continue;
    }
    // The kill, if any, came after the renaming: all that may be left to do is to remove the
    // journal.
    if (fs::exists(path + ".partial.journal")) {
      ASSERT_EQ(end_of(start_pack(plan, path)), kPacked);
    }
    ASSERT_FALSE(fs::exists(path + ".partial.journal"));
    ASSERT_TRUE(read_file(path) == bytes);
    fs::remove(path);
    kept = 0;
  }
  ASSERT_EQ(end_of(start_pack(plan, path)), kPacked);
  EXPECT_TRUE(read_file(path) == bytes);
}

TEST(PackKill, AStoreKilledAt200MomentsIsTheSameStore) {
  const TemporaryFolder folder;
  const SamplePlan sample(folder, 1, 150);
  kill_and_go_on(sample.plan, sample.bytes, folder / "a.slc", 200);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"a.slc", "one.bin", "two.bin"}));
}

/// Dies between the renaming and the removal of the journal.
class DiesPublishing final : public PackTarget {
 public:
  explicit DiesPublishing(FileTarget& target) : target_(target) {}
  const std::string& path() const override { return target_.path(); }
  bool has_its_name() const override { return target_.has_its_name(); }
  PackFile& partial() override { return target_.partial(); }
  PackFile& journal() override { return target_.journal(); }
  Result<std::uint64_t> free_bytes() const override { return target_.free_bytes(); }
  Status publish() override {
    fs::rename(partial().path(), path());
    return {ErrorCode::kIo, "killed"};
  }

 private:
  FileTarget& target_;
};

TEST(PackKill, KilledBetweenTheRenamingAndTheJournalsRemovalTheSameCommandEndsWell) {
  const TemporaryFolder folder;
  const SamplePlan sample(folder, 1, 30);
  const std::string path = folder / "a.slc";
  {
    const auto reader = make_block_reader(ReaderKind::kPread, 4);
    const auto target = FileTarget::open(path, sample.plan.files);
    ASSERT_TRUE(reader.ok() && target.ok());
    DiesPublishing dies(**target);
    const auto packer = Packer::begin(sample.plan, **reader, dies, {});
    ASSERT_TRUE(packer.ok());
    EXPECT_EQ((*packer)->run().message(), "killed");
  }
  const std::vector<std::string> left = {"a.slc", "a.slc.partial.journal", "one.bin", "two.bin"};
  ASSERT_EQ(folder.names(), left);
  // Of another file the journal says nothing: that file, and what else is there, stays.
  std::vector<std::byte> other = sample.bytes;
  other.back() ^= std::byte{1};
  test::write_file(path, other);
  EXPECT_EQ(pack(sample.plan, path), kFailed);
  EXPECT_EQ(folder.names(), left);
  EXPECT_TRUE(read_file(path) == other);
  test::write_file(path, sample.bytes);
  EXPECT_EQ(pack(sample.plan, path), kPacked);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"a.slc", "one.bin", "two.bin"}));
  EXPECT_TRUE(read_file(path) == sample.bytes);
  EXPECT_EQ(pack(sample.plan, path), kFailed);  // is there already
}

TEST(PackKill, AStoreOfPlanesKilledAt60MomentsIsTheSameStore) {
  const TemporaryFolder folder;
  const test::NestedSource source(folder / "source.bin");
  const auto plan = plan_store(source.checkpoint, test::nest_all());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  // In one chunk, and without a child.
  test::pack_store(source.checkpoint, folder / "whole.slc", test::nest_all());
  kill_and_go_on(*plan, read_file(folder / "whole.slc"), folder / "a.slc", 60);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"a.slc", "source.bin", "whole.slc"}));
}

}  // namespace
}  // namespace sluice

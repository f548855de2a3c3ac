#include "base/system_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/aligned_buffer.h"
#include "tests/base/python_oracle.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;

// A root directory with the files that a machine would show.
class SystemMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    write("/proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    1024000 kB\n");
  }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder_.path() / path.substr(1);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  // A cgroup of either version with a limit, what is used and how much of that is page cache, in
  // MiB.
  void write_v2(const std::string& folder, const std::string& max, std::uint64_t used,
                std::uint64_t cache) {
    write(folder + "/memory.max", max + "\n");
    write(folder + "/memory.current", std::to_string(used * kMebibyte) + "\n");
    write(folder + "/memory.stat", "anon 1\nfile 2\ninactive_file " +
                                       std::to_string(cache * kMebibyte) + "\nactive_file 0\n");
  }
  void write_v1(const std::string& folder, const std::string& limit, std::uint64_t used,
                std::uint64_t cache) {
    write(folder + "/memory.limit_in_bytes", limit + "\n");
    write(folder + "/memory.usage_in_bytes", std::to_string(used * kMebibyte) + "\n");
    write(folder + "/memory.stat", "inactive_file 7\ntotal_inactive_file 0\ntotal_active_file " +
                                       std::to_string(cache * kMebibyte) + "\n");
  }
  static std::string mebibytes(std::uint64_t count) { return std::to_string(count * kMebibyte); }

  void expect(std::uint64_t available, const std::string& limited_by) {
    const auto memory = system_memory(folder_.path());
    ASSERT_TRUE(memory.ok()) << memory.status().message();
    EXPECT_EQ(memory->available, available * kMebibyte);
    EXPECT_EQ(memory->limited_by, limited_by);
  }

  test::TemporaryFolder folder_;
};

constexpr const char* kUnifiedMount =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
constexpr const char* kMemoryMount =
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n";

TEST_F(SystemMemoryTest, WithoutCgroupsTheSystemDecides) { expect(1000, "MemAvailable"); }

TEST_F(SystemMemoryTest, WithoutMeminfoThereIsAnError) {
  std::filesystem::remove(folder_.path() / "proc/meminfo");
  EXPECT_EQ(system_memory(folder_.path()).status().code(), ErrorCode::kIo);
}

TEST_F(SystemMemoryTest, UnifiedLimitOfTheOwnCgroup) {
  write("/proc/self/cgroup", "0::/jobs/one\n");
  write("/proc/self/mountinfo", kUnifiedMount);
  write_v2("/sys/fs/cgroup/jobs/one", mebibytes(500), 300, 100);
  write_v2("/sys/fs/cgroup/jobs", "max", 900, 0);
  expect(300, "/sys/fs/cgroup/jobs/one/memory.max");
}

TEST_F(SystemMemoryTest, AnAncestorMayHaveLessLeft) {
  write("/proc/self/cgroup", "0::/jobs/one\n");
  write("/proc/self/mountinfo", kUnifiedMount);
  write_v2("/sys/fs/cgroup/jobs/one", mebibytes(500), 100, 0);
  write_v2("/sys/fs/cgroup/jobs", mebibytes(800), 600, 0);
  write_v2("/sys/fs/cgroup/elsewhere", mebibytes(1), 0, 0);
  expect(200, "/sys/fs/cgroup/jobs/memory.max");
}

TEST_F(SystemMemoryTest, MemoryHighCountsBecauseItThrottles) {
  write("/proc/self/cgroup", "0::/jobs\n");
  write_v2("/sys/fs/cgroup/jobs", mebibytes(500), 100, 0);
  write("/sys/fs/cgroup/jobs/memory.high", mebibytes(150) + "\n");
  expect(50, "/sys/fs/cgroup/jobs/memory.high");
}

TEST_F(SystemMemoryTest, AFullCgroupLeavesNothing) {
  write("/proc/self/cgroup", "0::/jobs\n");
  write_v2("/sys/fs/cgroup/jobs", mebibytes(100), 120, 10);
  expect(0, "/sys/fs/cgroup/jobs/memory.max");
}

TEST_F(SystemMemoryTest, VersionOneLimit) {
  write("/proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n0::/\n");
  write("/proc/self/mountinfo", kMemoryMount);
  write_v1("/sys/fs/cgroup/memory", "9223372036854771712", 5000, 0);
  write_v1("/sys/fs/cgroup/memory/docker/abc", mebibytes(700), 400, 100);
  expect(400, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes");
}

TEST_F(SystemMemoryTest, VersionOneTellsOfAncestorsOutsideTheMount) {
  write("/proc/self/cgroup", "4:memory:/\n");
  write_v1("/sys/fs/cgroup/memory", mebibytes(700), 400, 100);
  write("/sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit " + mebibytes(450) + "\n");
  expect(50, "/sys/fs/cgroup/memory/memory.stat");
}

TEST_F(SystemMemoryTest, HybridAppliesBothHierarchies) {
  write("/proc/self/cgroup", "4:name=systemd:/x\n3:cpu,memory:/a\n0::/b\n");
  write_v1("/sys/fs/cgroup/memory/a", mebibytes(600), 0, 0);
  expect(600, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
  write_v2("/sys/fs/cgroup/unified/b", mebibytes(550), 0, 0);
  expect(550, "/sys/fs/cgroup/unified/b/memory.max");
}

TEST_F(SystemMemoryTest, InAContainerTheMountsRootIsTheOwnCgroup) {
  // The path is the host's, the mount shows the container's cgroup as its root, and mountinfo hides
  // or tells that.
  write("/proc/self/cgroup", "0::/docker/abc\n");
  write_v2("/sys/fs/cgroup", mebibytes(300), 100, 0);
  expect(200, "/sys/fs/cgroup/memory.max");
  write("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  expect(200, "/sys/fs/cgroup/memory.max");
  // A child made inside the container.
  write("/proc/self/cgroup", "0::/docker/abc/child\n");
  write_v2("/sys/fs/cgroup/child", mebibytes(90), 0, 0);
  expect(90, "/sys/fs/cgroup/child/memory.max");
  // A cgroup outside the namespace.
  write("/proc/self/mountinfo", kUnifiedMount);
  write("/proc/self/cgroup", "0::/../../host\n");
  write_v2("/sys/host", mebibytes(10), 0, 0);
  expect(200, "/sys/fs/cgroup/memory.max");
}

TEST_F(SystemMemoryTest, MountsMayBeAnywhere) {
  write("/proc/self/cgroup", "4:memory:/a\n");
  write("/proc/self/mountinfo", "35 31 0:32 / /dev/cgroups/mem rw - cgroup none rw,memory\n");
  write_v1("/dev/cgroups/mem/a", mebibytes(600), 0, 0);
  expect(600, "/dev/cgroups/mem/a/memory.limit_in_bytes");
}

TEST_F(SystemMemoryTest, OddFilesAreNoLimit) {
  write("/proc/self/cgroup", "garbage\n0:\n0::/a\n");
  write("/proc/self/mountinfo", "\n1 2\n- - -\n");
  write("/sys/fs/cgroup/a/memory.max", "");
  write("/sys/fs/cgroup/memory.max", "a lot\n");
  expect(1000, "MemAvailable");
}

TEST_F(SystemMemoryTest, ProcessMemoryComesFromStatus) {
  write("/proc/self/status", "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n");
  const auto memory = process_memory(folder_.path());
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->resident, kMebibyte);
  EXPECT_EQ(memory->peak_resident, 2 * kMebibyte);
  write("/proc/self/status", "Name:\tx\n");
  EXPECT_EQ(process_memory(folder_.path()).status().code(), ErrorCode::kIo);
}

TEST(RealMemoryTest, TouchedPagesBecomeResidentAndStayInThePeak) {
  constexpr std::size_t kBytes = 64 * kMebibyte;
  const auto before = process_memory();
  ASSERT_TRUE(before.ok());
  auto buffer = AlignedBuffer::allocate(kBytes);
  ASSERT_TRUE(buffer.ok());
  std::fill_n(buffer->data(), kBytes, std::byte{1});
  const auto during = process_memory();
  ASSERT_TRUE(during.ok());
  // The kernel batches its counts by thread: a few hundred pages may be missing.
  EXPECT_GE(during->resident + 2 * kMebibyte, before->resident + kBytes);
  *buffer = AlignedBuffer();
  const auto after = process_memory();
  ASSERT_TRUE(after.ok());
  EXPECT_LE(after->resident, during->resident - kBytes / 2);
  EXPECT_GE(after->peak_resident + 2 * kMebibyte, before->resident + kBytes);
}

TEST(RealMemoryTest, ThisMachineHasSome) {
  const auto memory = system_memory();
  ASSERT_TRUE(memory.ok()) << memory.status().message();
  EXPECT_GT(memory->available, 0u);
  EXPECT_FALSE(memory->limited_by.empty());
}

}  // namespace
}  // namespace sluice

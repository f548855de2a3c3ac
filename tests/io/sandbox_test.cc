// Where the kernel forbids io_uring or limits locked memory: each case in a child process that
// gives up rights for good.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "tests/io/child_process.h"
#include "tests/io/reader_kinds.h"
#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

constexpr std::size_t kBlock = 4096;

/// From now on the system call fails with `error`, as container runtimes do it.
bool forbid(long call, int error) {
  std::array<sock_filter, 4> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

std::string ring_refusal() {
  auto ring = make_uring_reader();
  return ring.ok() ? "" : ring.status().message();
}

/// Reads one block and compares; empty when right.
std::string read_block(BlockReader& reader, const test::TemporaryFile& file,
                       std::byte* destination) {
  auto opened = reader.open(file.path());
  if (!opened.ok()) return opened.status().message();
  const ReadRequest request = {*opened, kBlock, kBlock, kBlock, destination, 1};
  if (Status status = reader.submit(std::span(&request, 1)); !status.ok()) return status.message();
  ReadCompletion completion;
  if (reader.reap(std::span(&completion, 1), true) != 1) return "nothing came";
  if (!completion.status.ok()) return completion.status.message();
  return test::matches({destination, kBlock}, kBlock) ? "" : "wrong bytes";
}

class Forbidden : public testing::TestWithParam<std::pair<long, int>> {};

INSTANTIATE_TEST_SUITE_P(Sandboxes, Forbidden,
                         testing::Values(std::pair{long{SYS_io_uring_setup}, EPERM},
                                         std::pair{long{SYS_io_uring_setup}, ENOSYS},
                                         std::pair{long{SYS_io_uring_setup}, ENOMEM},
                                         std::pair{long{SYS_io_uring_enter}, EPERM}));

TEST_P(Forbidden, ThePoolTakesOverAndSaysWhy) {
  if (const std::string refusal = ring_refusal(); !refusal.empty()) {
    GTEST_SKIP() << "forbidden already: " << refusal;
  }
  const test::TemporaryFile file(4 * kBlock);
  const auto [call, error] = GetParam();
  const std::string verdict = test::in_child([&, call = call, error = error]() -> std::string {
    if (!forbid(call, error)) return "skip";
    auto forced = make_block_reader(ReaderKind::kUring);
    if (forced.ok()) return "the ring was granted";
    if (forced.status().code() != ErrorCode::kUnsupported) return "wrong code";
    auto reader = make_block_reader(ReaderKind::kAuto);
    if (!reader.ok()) return reader.status().message();
    const ReaderInfo info = (*reader)->info();
    if (info.name != "pread pool") return "wrong reader: " + info.name;
    const std::string name = call == SYS_io_uring_setup ? "io_uring_setup" : "io_uring_enter";
    if (info.why.find(name) == std::string::npos ||
        info.why.find(std::strerror(error)) == std::string::npos) {
      return "wrong reason: " + info.why;
    }
    alignas(kBlock) std::byte block[kBlock];
    return read_block(**reader, file, block);
  });
  if (verdict == "skip") GTEST_SKIP() << "seccomp is not to be had here";
  EXPECT_EQ(verdict, "");
}

TEST(Sandbox, ARingThatBreaksLaterFailsItsReadsAndHangsNobody) {
  if (const std::string refusal = ring_refusal(); !refusal.empty()) GTEST_SKIP() << refusal;
  const test::TemporaryFile file(4 * kBlock);
  const std::string verdict = test::in_child([&]() -> std::string {
    auto reader = make_uring_reader();
    if (!reader.ok()) return reader.status().message();
    alignas(kBlock) static std::byte block[kBlock];
    if (std::string before = read_block(**reader, file, block); !before.empty()) return before;
    if (!forbid(SYS_io_uring_enter, EPERM)) return "skip";
    for (int round = 0; round < 3; ++round) {
      const std::string after = read_block(**reader, file, block);
      if (after.find(file.path()) == std::string::npos ||
          after.find("io_uring_enter: Operation not permitted") == std::string::npos) {
        return "wrong error: " + after;
      }
    }
    return (*reader)->info().why.find("out of order") != std::string::npos ? ""
                                                                           : "info does not tell";
  });
  if (verdict == "skip") GTEST_SKIP() << "seccomp is not to be had here";
  EXPECT_EQ(verdict, "");
}

TEST(Sandbox, AKernelThatIsShortOfMemoryForeverFailsTheReads) {
  if (const std::string refusal = ring_refusal(); !refusal.empty()) GTEST_SKIP() << refusal;
  const test::TemporaryFile file(4 * kBlock);
  const std::string verdict = test::in_child([&]() -> std::string {
    auto reader = make_uring_reader();
    if (!reader.ok()) return reader.status().message();
    if (!forbid(SYS_io_uring_enter, EAGAIN)) return "skip";
    alignas(kBlock) static std::byte block[kBlock];
    const std::string after = read_block(**reader, file, block);
    return after.find("Resource temporarily unavailable") != std::string::npos ? ""
                                                                               : "wrong: " + after;
  });
  if (verdict == "skip") GTEST_SKIP() << "seccomp is not to be had here";
  EXPECT_EQ(verdict, "");
}

TEST(Sandbox, ASmallLockLimitLeavesMemoryUnregistered) {
  if (const std::string refusal = ring_refusal(); !refusal.empty()) GTEST_SKIP() << refusal;
  const test::TemporaryFile file(4 * kBlock);
  const std::string verdict = test::in_child([&]() -> std::string {
    const struct rlimit limit = {64u << 10, 64u << 10};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "cannot set the limit";
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none = {};
    if (::syscall(SYS_capset, &header, none.data()) != 0) return "cannot give up capabilities";
    auto reader = make_uring_reader();
    if (!reader.ok()) return "skip";  // before Linux 5.12 the ring itself counts
    constexpr std::size_t kBytes = 1u << 20;
    auto buffer = AlignedBuffer::allocate(kBytes);
    (*reader)->register_memory({buffer->data(), kBytes});
    const std::string why = (*reader)->info().why;
    if (why.find("not registered") == std::string::npos) return "not told: " + why;
    if (why.find("lock limit") == std::string::npos) return "wrong reason: " + why;
    return read_block(**reader, file, buffer->data());
  });
  if (verdict == "skip") GTEST_SKIP() << "no ring under so small a lock limit";
  EXPECT_EQ(verdict, "");
}

}  // namespace
}  // namespace sluice

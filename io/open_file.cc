#include "io/open_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>

namespace sluice {
namespace {

constexpr std::size_t kPage = 4096;

/// What direct reads of this file must be aligned to by the kernel's own word: 0 when it says that
/// there are none, 1 when it says nothing (before Linux 6.1, or a file system that keeps silent).
std::size_t stated_alignment(int descriptor) {
#ifdef STATX_DIOALIGN
  struct statx facts = {};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 &&
      (facts.stx_mask & STATX_DIOALIGN) != 0) {
    return std::max<std::size_t>(facts.stx_dio_mem_align, facts.stx_dio_offset_align);
  }
#else
  static_cast<void>(descriptor);
#endif
  return 1;
}

/// Whether the file lives in memory. Such file systems accept O_DIRECT on recent kernels without
/// meaning it.
bool in_memory(int descriptor) {
  struct statfs facts = {};
  return ::fstatfs(descriptor, &facts) == 0 &&
         (facts.f_type == TMPFS_MAGIC || facts.f_type == RAMFS_MAGIC);
}

/// One real read of the file's first `alignment` bytes, at no better alignment than that.
bool direct_read_works(int descriptor, std::size_t alignment) {
  alignas(2 * kPage) std::byte block[2 * kPage];
  std::byte* const destination = alignment < kPage ? block + alignment : block;
  ssize_t got = 0;
  do {
    got = ::pread(descriptor, destination, std::min(alignment, kPage), 0);
  } while (got < 0 && errno == EINTR);
  return got >= 0;
}

/// The smallest usable alignment of direct reads, or 1 when there are none.
std::size_t probe_alignment(int descriptor) {
  if (in_memory(descriptor)) return 1;
  const std::size_t stated = stated_alignment(descriptor);
  if (stated == 0) return 1;
  for (const std::size_t candidate : {std::size_t{512}, kPage}) {
    if (candidate >= stated && direct_read_works(descriptor, candidate)) return candidate;
  }
  return 1;
}

Status system_error(const std::string& path, int error) {
  const ErrorCode code =
      error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo;
  return Status(code, path + ": cannot open: " + std::strerror(error));
}

}  // namespace

Result<OpenFile> OpenFile::open(const std::string& path, bool allow_direct) {
  // O_NONBLOCK only so that opening a pipe by mistake does not hang; it means nothing to regular
  // files.
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  const int buffered = ::open(path.c_str(), kFlags);
  if (buffered < 0) return system_error(path, errno);
  OpenFile file(path, buffered);

  struct stat facts = {};
  if (::fstat(buffered, &facts) != 0) return system_error(path, errno);
  if (!S_ISREG(facts.st_mode)) {
    const char* const what = S_ISDIR(facts.st_mode) ? "a directory" : "not a regular file";
    return Status(ErrorCode::kInvalidArgument, path + ": cannot open: it is " + what);
  }
  file.size_ = static_cast<std::uint64_t>(facts.st_size);

  if (allow_direct) {
    if (const int direct = ::open(path.c_str(), kFlags | O_DIRECT); direct >= 0) {
      file.alignment_ = probe_alignment(direct);
      ::close(file.alignment_ > 1 ? std::exchange(file.descriptor_, direct) : direct);
    }
  }
  // Only what is asked for is to be read: read-ahead would fill the page cache behind our back.
  if (!file.direct()) ::posix_fadvise(file.descriptor_, 0, 0, POSIX_FADV_RANDOM);
  return file;
}

OpenFile::~OpenFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::uint64_t OpenFile::size_now() const {
  struct stat facts = {};
  return ::fstat(descriptor_, &facts) == 0 ? static_cast<std::uint64_t>(facts.st_size) : size_;
}

void OpenFile::drop_cached(std::uint64_t offset, std::size_t bytes) const {
  if (direct() || bytes == 0) return;
  // The kernel drops whole pages only, so the range is widened to them.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = offset / page * page;
  const std::uint64_t end = (offset + bytes + page - 1) / page * page;
  ::posix_fadvise(descriptor_, static_cast<off_t>(begin), static_cast<off_t>(end - begin),
                  POSIX_FADV_DONTNEED);
}

}  // namespace sluice

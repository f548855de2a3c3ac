#include "apps/npy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "apps/cancel.h"

namespace sluice::apps {
namespace {

static_assert(std::endian::native == std::endian::little, "'<f4' below");

/// Magic, version 1.0, a 16-bit length and a Python literal; all together a multiple of 64, ended
/// by a line feed.
std::string npy_header(std::size_t rows, std::size_t columns) {
  std::string literal =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  constexpr std::size_t kPrefix = 10;
  literal.append(63 - (kPrefix + literal.size()) % 64, ' ').push_back('\n');
  std::string header = "\x93NUMPY\x01";
  header += '\0';
  header += static_cast<char>(literal.size() & 0xff);
  header += static_cast<char>(literal.size() >> 8);
  return header + literal;
}

struct Target {
  int descriptor = -1;
  bool created = false;  // the path named nothing before
  bool shared = false;   // it is standard output or standard error
};

/// What standard output or standard error already is goes on from where that stands: opened once
/// more, each would write over the other.
Target open_target(const std::string& path) {
  struct stat wanted = {}, standard = {};
  if (stat(path.c_str(), &wanted) == 0) {
    for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
      const bool same = fstat(number, &standard) == 0 && wanted.st_dev == standard.st_dev &&
                        wanted.st_ino == standard.st_ino;
      if (same && (fcntl(number, F_GETFL) & O_ACCMODE) != O_RDONLY)
        return {.descriptor = fcntl(number, F_DUPFD_CLOEXEC, 0), .shared = true};
    }
  }
  const int existing = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (existing >= 0 || errno != ENOENT) return {.descriptor = existing};
  return {.descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666),
          .created = true};
}

}  // namespace

Result<NpyWriter> NpyWriter::create(const std::string& path, std::size_t rows,
                                    std::size_t columns) {
  NpyWriter writer;
  writer.path_ = path;
  writer.header_ = npy_header(rows, columns);
  const Target target = open_target(path);
  if (target.descriptor < 0) return writer.failure();
  struct stat about = {};
  writer.created_ = target.created;
  writer.regular_ =
      !target.shared && fstat(target.descriptor, &about) == 0 && S_ISREG(about.st_mode);
  writer.file_.reset(fdopen(target.descriptor, "wb"));
  if (!writer.file_) {
    const Status status = writer.failure();
    ::close(target.descriptor);
    return status;
  }
  return writer;
}

Status NpyWriter::failure() const {
  // A pipe that nobody reads was waited for.
  if (errno == EINTR && cancel_requested().load())
    return Status(ErrorCode::kCancelled, "stopped on request");
  return Status(ErrorCode::kIo,
                fmt::format("{}: cannot be written: {}", path_, std::strerror(errno)));
}

/// What the file held goes only now.
Status NpyWriter::begin() {
  begun_ = true;
  if (regular_ && ftruncate(fileno(file_.get()), 0) != 0) return failure();
  if (std::fwrite(header_.data(), 1, header_.size(), file_.get()) != header_.size())
    return failure();
  return {};
}

Status NpyWriter::write(std::span<const float> row) {
  if (!begun_) SLUICE_TRY(begin());
  if (std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) != row.size())
    return failure();
  return {};
}

Status NpyWriter::close() {
  // Flushed while it is still open, so that a failure can be undone.
  if (std::fflush(file_.get()) != 0) return failure();
  if (std::fclose(file_.release()) != 0) return failure();
  return {};
}

NpyWriter::~NpyWriter() {
  if (!file_) return;
  const int descriptor = regular_ && begun_ ? fcntl(fileno(file_.get()), F_DUPFD_CLOEXEC, 0) : -1;
  file_.reset();  // writes what it still holds
  std::error_code ignored;
  if (created_) std::filesystem::remove(std::filesystem::canonical(path_, ignored), ignored);
  if (descriptor < 0) return;
  [[maybe_unused]] const int result = ftruncate(descriptor, 0);
  ::close(descriptor);
}

}  // namespace sluice::apps

#include "formats/header_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{128} << 10;
constexpr std::uint64_t kPage = 4096;

}  // namespace

Result<HeaderReader> HeaderReader::open(const std::string& path) {
  const int descriptor =
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not hang
  if (descriptor < 0) {
    const auto code = errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo;
    return Status(code, path + ": " + std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) {
    const Status status(ErrorCode::kIo, path + ": " + std::strerror(errno));
    ::close(descriptor);
    return status;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return Status(ErrorCode::kInvalidArgument, path + ": not a regular file");
  }
  // Weights follow the header: the kernel's read-ahead would fetch megabytes of them.
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM);
  return HeaderReader(path, descriptor, static_cast<std::uint64_t>(info.st_size));
}

HeaderReader::HeaderReader(std::string path, int descriptor, std::uint64_t file_size)
    : path_(std::move(path)), descriptor_(descriptor), file_size_(file_size) {}

HeaderReader::HeaderReader(HeaderReader&& other) noexcept { *this = std::move(other); }

HeaderReader& HeaderReader::operator=(HeaderReader&& other) noexcept {
  if (this == &other) return *this;
  close();
  path_ = std::move(other.path_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  file_size_ = other.file_size_;
  position_ = other.position_;
  field_start_ = other.field_start_;
  buffer_start_ = other.buffer_start_;
  high_water_ = other.high_water_;
  buffer_ = std::move(other.buffer_);
  return *this;
}

HeaderReader::~HeaderReader() { close(); }

void HeaderReader::close() {
  if (descriptor_ < 0) return;
  // Only whole pages are dropped, so the last one is rounded up.
  const std::uint64_t end = (high_water_ + kPage - 1) / kPage * kPage;
  ::posix_fadvise(descriptor_, 0, static_cast<off_t>(end), POSIX_FADV_DONTNEED);
  ::close(descriptor_);
  descriptor_ = -1;
}

Status HeaderReader::check_length(std::uint64_t bytes, std::string_view field) {
  field_start_ = position_;
  if (bytes > remaining()) {
    return corrupt(field, "needs " + std::to_string(bytes) + " bytes, but the file ends at byte " +
                              std::to_string(file_size_));
  }
  return {};
}

Status HeaderReader::refill(std::string_view field) {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kBufferBytes, remaining()));
  buffer_.resize(wanted);
  buffer_start_ = position_;
  std::size_t got = 0;
  while (got < wanted) {
    const ssize_t count = ::pread(descriptor_, buffer_.data() + got, wanted - got,
                                  static_cast<off_t>(position_ + got));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return error(ErrorCode::kIo, field, std::strerror(errno));
    if (count == 0) return corrupt(field, "the file became shorter while it was read");
    got += static_cast<std::size_t>(count);
  }
  high_water_ = std::max(high_water_, position_ + got);
  return {};
}

Status HeaderReader::read(std::span<std::byte> out, std::string_view field) {
  SLUICE_TRY(check_length(out.size(), field));
  while (!out.empty()) {
    if (position_ < buffer_start_ || position_ >= buffer_start_ + buffer_.size()) {
      SLUICE_TRY(refill(field));
    }
    const auto inside = static_cast<std::size_t>(position_ - buffer_start_);
    const std::size_t count = std::min(out.size(), buffer_.size() - inside);
    std::memcpy(out.data(), buffer_.data() + inside, count);
    out = out.subspan(count);
    position_ += count;
  }
  return {};
}

Status HeaderReader::read_text(std::string& out, std::uint64_t length, std::string_view field) {
  SLUICE_TRY(check_length(length, field));
  out.resize(static_cast<std::size_t>(length));
  return read(std::as_writable_bytes(std::span(out)), field);
}

Status HeaderReader::skip(std::uint64_t bytes, std::string_view field) {
  SLUICE_TRY(check_length(bytes, field));
  position_ += bytes;
  return {};
}

Status HeaderReader::error(ErrorCode code, std::string_view field, std::string_view message) const {
  std::string text = path_ + ": ";
  text.append(field).append(" at byte ").append(std::to_string(field_start_)).append(": ");
  return Status(code, text.append(message));
}

Result<HeaderReader> open_whole_file(const std::string& path, std::uint64_t limit) {
  SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
  if (reader.file_size() > limit) {
    return Status(ErrorCode::kUnsupported, path + ": " + std::to_string(reader.file_size()) +
                                               " bytes, more than the " + std::to_string(limit) +
                                               " that such a file may have");
  }
  return reader;
}

Result<AlignedBuffer> read_whole_file(const std::string& path, std::uint64_t limit,
                                      std::size_t* size) {
  SLUICE_ASSIGN(HeaderReader reader, open_whole_file(path, limit));
  *size = static_cast<std::size_t>(reader.file_size());
  SLUICE_ASSIGN(AlignedBuffer buffer, AlignedBuffer::allocate(*size));
  SLUICE_TRY(reader.read(std::span(buffer.data(), *size), "contents"));
  return buffer;
}

}  // namespace sluice

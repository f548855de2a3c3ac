#include "apps/text_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "apps/cancel.h"

namespace sluice::apps {
namespace {

constexpr std::size_t kPart = 64 << 10;

}  // namespace

Result<TextSource> TextSource::open(const std::string& path) {
  TextSource source;
  source.path_ = path == "-" ? "standard input" : path;
  if (path == "-" && (fcntl(STDIN_FILENO, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    return Status(ErrorCode::kInvalidArgument,
                  "standard input is closed: give the text as an option or in a file");
  }
  // A pipe that nobody writes to yet is waited for in `next`, where a signal ends the wait.
  source.descriptor_ = path == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                   : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (source.descriptor_ < 0)
    return Status(ErrorCode::kNotFound, fmt::format("{}: {}", source.path_, std::strerror(errno)));
  struct stat about = {};
  if (fstat(source.descriptor_, &about) == 0 && S_ISREG(about.st_mode)) {
    source.size_ = static_cast<std::size_t>(about.st_size);
  }
  source.buffer_.resize(kPart);
  return source;
}

TextSource TextSource::of(std::string_view text) {
  TextSource source;
  source.path_ = "the text";
  source.text_ = text;
  source.size_ = text.size();
  return source;
}

TextSource::TextSource(TextSource&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      text_(other.text_),
      buffer_(std::move(other.buffer_)),
      taken_(other.taken_),
      size_(other.size_) {}

TextSource::~TextSource() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::string_view> TextSource::next() {
  std::string_view part = text_.substr(0, kPart);
  text_.remove_prefix(part.size());
  while (descriptor_ >= 0) {
    SLUICE_TRY(wait_readable(descriptor_).with_context(path_));
    const ssize_t count = ::read(descriptor_, buffer_.data(), buffer_.size());
    if (count >= 0) {
      part = std::string_view(buffer_).substr(0, static_cast<std::size_t>(count));
      break;
    }
    if (errno != EINTR && errno != EAGAIN) {
      return Status(ErrorCode::kIo,
                    fmt::format("{}: cannot be read: {}", path_, std::strerror(errno)));
    }
  }
  taken_ += part.size();
  return part;
}

Result<bool> TokenSource::next(std::vector<TokenId>& ids) {
  bytes_ = {};
  if (ended_) return false;
  SLUICE_ASSIGN(bytes_, text_.next());
  ended_ = bytes_.empty();
  const Status status = ended_ ? stream_->finish(ids) : stream_->push(bytes_, ids);
  if (!status.ok()) return status.with_context(text_.path());
  return true;
}

}  // namespace sluice::apps

#include "apps/text_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "apps/cancel.h"
#include "text/utf8.h"

namespace sluice::apps {
namespace {

constexpr std::size_t kPart = 64 << 10;

}  // namespace

Result<TextSource> TextSource::open(const std::string& path, std::string_view option,
                                    IllFormed ill_formed) {
  TextSource source;
  source.ill_formed_ = ill_formed;
  source.path_ = path == "-" ? "standard input" : path;
  if (path == "-" && (fcntl(STDIN_FILENO, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    return Status(ErrorCode::kInvalidArgument,
                  "standard input is closed: give the text as an option or in a file");
  }
  // A pipe that nobody writes to yet is waited for in `next`, where a signal ends the wait.
  source.descriptor_ = path == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                   : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (source.descriptor_ < 0)
    return Status(ErrorCode::kNotFound,
                  fmt::format("{} {}: {}: name a file that can be read, or - for standard input",
                              option, source.path_, std::strerror(errno)));
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
      ill_formed_(other.ill_formed_),
      cut_(std::move(other.cut_)),
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
  if (ill_formed_ != IllFormed::kTaken) SLUICE_TRY(check(part));
  taken_ += part.size();
  return part;
}

/// Warns once.
Status TextSource::check(std::string_view part) {
  std::size_t at = taken_ - cut_.size();
  cut_ += part;
  std::string_view rest = cut_;
  while (!rest.empty()) {
    const Utf8Run run = utf8_run(rest);
    if (!run.well_formed) break;
    at += run.length;
    rest.remove_prefix(run.length);
  }
  if (!rest.empty() && utf8_front(rest).state == Utf8Front::State::kIllFormed) {
    const std::string wrong = fmt::format("{}: not a text: byte {} is not UTF-8", path_, at);
    if (ill_formed_ == IllFormed::kRefused) {
      return {ErrorCode::kInvalidArgument,
              wrong + ": give plain text, neither compressed nor in another encoding"};
    }
    spdlog::warn("{}; it is taken as it is", wrong);
    ill_formed_ = IllFormed::kTaken;
  }
  cut_ = std::string(rest);
  return {};
}

Result<std::string> TextSource::rest(std::size_t most) {
  std::string all;
  for (;;) {
    SLUICE_ASSIGN(const std::string_view part, next());
    if (part.empty()) return all;
    all += part;
    if (all.size() > most) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("{}: is longer than {} bytes", path_, most));
    }
  }
}

/// Up to and with a newline, or to the end; empty once all was given. Of a piece that is too long,
/// no more is kept than shows it.
Result<std::string> LineSource::piece() {
  std::string piece;
  for (;;) {
    const std::size_t end = pending_.find('\n');
    const bool whole = end != std::string::npos;
    const std::size_t length = whole ? end + 1 : pending_.size();
    if (piece.size() <= longest_) piece.append(pending_, 0, length);
    pending_.erase(0, length);
    if (whole) return piece;
    SLUICE_ASSIGN(pending_, text_.next());
    if (pending_.empty()) return piece;
  }
}

Result<std::optional<std::string>> LineSource::next() {
  std::string line;
  for (;;) {
    SLUICE_ASSIGN(std::string piece, this->piece());
    if (piece.empty() && line.empty()) return std::optional<std::string>();
    const bool ended = !piece.ends_with('\n');
    if (!ended) piece.pop_back();
    if (piece.ends_with('\r')) piece.pop_back();
    const bool joined = !ended && piece.ends_with('\\');
    if (joined) piece.back() = '\n';
    if (line.size() <= longest_) line += piece;
    if (joined) continue;
    if (line.size() <= longest_) return std::optional(std::move(line));
    return Status(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: a line of more than {} bytes is passed over", text_.path(), longest_));
  }
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

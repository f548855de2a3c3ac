#include "apps/gzip_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::apps {
namespace {

constexpr std::size_t kPart = std::size_t{64} << 10;
constexpr std::string_view kGzip = "\x1f\x8b";
constexpr int kGzipOnly = 16 + MAX_WBITS;  // what inflateInit2 takes for it

}  // namespace

Result<GzipLines> GzipLines::open(const std::string& path) {
  GzipLines lines;
  errno = 0;
  lines.file_.open(path, std::ios::binary);
  if (!lines.file_) return Status(ErrorCode::kIo, path + ": " + std::strerror(errno));
  const Status status = lines.read();
  if (!status.ok()) return status.with_context(path);
  if (!lines.raw_.starts_with(kGzip)) {
    lines.text_ = std::move(lines.raw_);
    return lines;
  }
  lines.stream_.reset(new z_stream{});
  if (inflateInit2(lines.stream_.get(), kGzipOnly) != Z_OK) {
    return Status(ErrorCode::kIo, path + ": no memory to read it");
  }
  lines.stream_->next_in = reinterpret_cast<Bytef*>(lines.raw_.data());
  lines.stream_->avail_in = static_cast<uInt>(lines.raw_.size());
  return lines;
}

Result<GzipLines::Line> GzipLines::next() {
  std::size_t end = text_.find('\n', at_);
  while (end == std::string::npos && text_.size() - at_ < kLongest) {
    text_.erase(0, at_);
    at_ = 0;
    const std::size_t searched = text_.size();
    SLUICE_ASSIGN(const bool more, fill());
    if (!more) break;
    end = text_.find('\n', searched);
  }
  Line line;
  const std::size_t length = std::min(end, text_.size()) - at_;
  line.whole = end != std::string::npos && length < kLongest;
  line.text = std::string_view(text_).substr(at_, std::min(length, kLongest));
  line.more = line.whole || length != 0;
  at_ += line.whole ? length + 1 : length;
  return line;
}

/// False where nothing is left.
Result<bool> GzipLines::fill() {
  const std::size_t before = text_.size();
  while (text_.size() == before) {
    if (stream_ == nullptr) {
      SLUICE_TRY(read());
      if (raw_.empty()) return false;
      text_ += raw_;
      continue;
    }
    if (stream_->avail_in == 0) {
      SLUICE_TRY(read());
      stream_->next_in = reinterpret_cast<Bytef*>(raw_.data());
      stream_->avail_in = static_cast<uInt>(raw_.size());
      if (raw_.empty() && within_) return wrong("the file ends within its gzip data");
      if (raw_.empty()) return false;
    }
    SLUICE_TRY(inflate_some());
  }
  return true;
}

/// Nothing at the end of the file.
Status GzipLines::read() {
  raw_.resize(kPart);
  errno = 0;
  file_.read(raw_.data(), static_cast<std::streamsize>(raw_.size()));
  if (file_.bad()) return {ErrorCode::kIo, std::strerror(errno == 0 ? EIO : errno)};
  raw_.resize(static_cast<std::size_t>(file_.gcount()));
  read_ += raw_.size();
  return {};
}

/// One after the other, members are one text.
Status GzipLines::inflate_some() {
  if (!within_) {
    inflateReset(stream_.get());
    within_ = true;
    first_ = false;
  }
  const std::size_t before = text_.size();
  text_.resize(before + kPart);
  stream_->next_out = reinterpret_cast<Bytef*>(text_.data() + before);
  stream_->avail_out = kPart;
  const int result = ::inflate(stream_.get(), Z_NO_FLUSH);
  text_.resize(text_.size() - stream_->avail_out);
  within_ = result != Z_STREAM_END;
  if (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) return {};
  if (result == Z_MEM_ERROR) return wrong("no memory to read it");
  if (!first_ && stream_->total_out == 0) {
    return wrong("what follows the end of the gzip data is none: the file may be damaged");
  }
  return wrong(fmt::format("not gzip data ({}): the file is damaged",
                           stream_->msg == nullptr ? "a dictionary is missing" : stream_->msg));
}

Status GzipLines::wrong(const std::string& what) const {
  return {ErrorCode::kCorrupt,
          fmt::format("{} (at byte {})", what, read_ - (stream_ ? stream_->avail_in : 0))};
}

}  // namespace sluice::apps

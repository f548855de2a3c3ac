#pragma once
// A text that is read and tokenised in parts, so that its length costs no memory.

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "text/tokenizer.h"

namespace sluice::apps {

/// What is to be done about bytes that are no UTF-8. A character that the end cuts is none of them.
enum class IllFormed { kTaken, kWarned, kRefused };

class TextSource {
 public:
  /// A file, or standard input for "-". kNotFound names the path and the option that gave it.
  static Result<TextSource> open(const std::string& path, std::string_view option,
                                 IllFormed ill_formed = IllFormed::kTaken);
  /// A text that is there. Borrowed.
  static TextSource of(std::string_view text);
  ~TextSource();
  TextSource(TextSource&& other) noexcept;
  TextSource& operator=(TextSource&&) = delete;

  /// The next bytes, valid until the next call; empty at the end. kIo names the path; kCancelled
  /// after Ctrl-C; kInvalidArgument names the first byte that is refused.
  Result<std::string_view> next();
  /// All that is left. kInvalidArgument, naming the path, where it is more than `most` bytes.
  Result<std::string> rest(std::size_t most);
  /// Bytes that `next` gave.
  std::size_t taken() const { return taken_; }
  /// Of a file; 0 if it is not known.
  std::size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  TextSource() = default;
  Status check(std::string_view part);

  std::string path_;
  int descriptor_ = -1;
  std::string_view text_;
  std::string buffer_;
  IllFormed ill_formed_ = IllFormed::kTaken;
  std::string cut_;  // the first bytes of a character that the next part goes on with
  std::size_t taken_ = 0;
  std::size_t size_ = 0;
};

/// The lines of a source. A backslash at the end of one joins the next to it, with the newline.
class LineSource {
 public:
  /// A line, with those joined to it, may have `longest` bytes.
  LineSource(TextSource text, std::size_t longest) : text_(std::move(text)), longest_(longest) {}

  /// The next line without its end; nothing at the end of the source. Errors are those of
  /// TextSource, and kInvalidArgument for a line that is too long: it is passed over.
  Result<std::optional<std::string>> next();

 private:
  Result<std::string> piece();

  TextSource text_;
  const std::size_t longest_;
  std::string pending_;
};

/// The ids of a source, some at a time. Borrows the tokenizer.
class TokenSource {
 public:
  TokenSource(TextSource text, const Tokenizer& tokenizer, const Tokenizer::EncodeOptions& options)
      : text_(std::move(text)), stream_(tokenizer.stream(options)) {}

  /// Appends ids; `false` once there are no more. Errors are those of TextSource and TokenStream,
  /// naming the path.
  Result<bool> next(std::vector<TokenId>& ids);
  const TextSource& text() const { return text_; }
  /// The bytes that the last `next` read.
  std::string_view bytes() const { return bytes_; }

 private:
  TextSource text_;
  std::unique_ptr<TokenStream> stream_;
  std::string_view bytes_;
  bool ended_ = false;
};

}  // namespace sluice::apps

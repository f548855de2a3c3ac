#pragma once
// The lines of a file that may be gzipped.

#include <zlib.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice::apps {

/// What zlib's own gzFile passes over in silence is an error here: bytes behind the last member.
/// Its memory does not grow with the file. Used by one thread.
class GzipLines {
 public:
  static constexpr std::size_t kLongest = 4096;  // bytes

  struct Line {
    std::string_view text;  // without its end; valid until the next call
    bool whole = false;     // its end is there; else it is too long, or the file ends within it
    bool more = true;       // false: there was no further line, and `text` is empty
  };

  /// kIo names the path.
  static Result<GzipLines> open(const std::string& path);
  /// kIo and kCorrupt say what is wrong at which byte of the file, and not which file it is.
  Result<Line> next();

 private:
  struct End {
    void operator()(z_stream* stream) const {
      inflateEnd(stream);
      delete stream;
    }
  };

  GzipLines() = default;
  Result<bool> fill();
  Status read();
  Status inflate_some();
  Status wrong(const std::string& what) const;

  std::ifstream file_;
  std::uint64_t read_ = 0;                 // bytes of the file
  std::string raw_;                        // the last of them
  std::unique_ptr<z_stream, End> stream_;  // null: the file is plain
  bool within_ = true;                     // a gzip member
  bool first_ = true;                      // it is the first one
  std::string text_;
  std::size_t at_ = 0;  // what is before it was given
};

}  // namespace sluice::apps

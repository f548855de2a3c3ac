#pragma once
// NumPy's file format, for one float32 matrix.

#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice::apps {

/// Writes rows one after the other into the file that the path names. A file that is there stays
/// the file that it is, links, owner and mode included, and keeps its content until the first row;
/// a device, a pipe and what is open already (/dev/stdout) are written as they are. Without `close`
/// a new file is removed and an older one is left empty, if a row was written.
class NpyWriter {
 public:
  NpyWriter(NpyWriter&&) = default;
  NpyWriter& operator=(NpyWriter&&) = delete;
  ~NpyWriter();

  /// kIo names the path, here and below; kCancelled after Ctrl-C in a wait for a reader.
  static Result<NpyWriter> create(const std::string& path, std::size_t rows, std::size_t columns);
  Status write(std::span<const float> row);
  /// REQUIRES: every row was written.
  Status close();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  NpyWriter() = default;

  Status begin();
  Status failure() const;

  std::string path_;
  std::string header_;
  bool created_ = false;  // the path named nothing before
  bool regular_ = false;  // a file of its own, which can be cut
  bool begun_ = false;
  std::unique_ptr<std::FILE, Closer> file_;  // null after `close`
};

}  // namespace sluice::apps

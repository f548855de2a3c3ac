#pragma once
// NumPy's file format, for one float32 matrix.

#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice::apps {

/// Writes rows one after the other, beside the file; `close` puts the whole in its place. Without
/// `close` nothing is left.
class NpyWriter {
 public:
  NpyWriter(NpyWriter&&) = default;
  NpyWriter& operator=(NpyWriter&&) = default;
  ~NpyWriter();

  static Result<NpyWriter> create(const std::string& path, std::size_t rows, std::size_t columns);
  Status write(std::span<const float> row);
  Status close();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  NpyWriter() = default;

  std::string path_;
  std::string written_;  // where the rows go: path_ itself where that is a device or a pipe
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace sluice::apps

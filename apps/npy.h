#pragma once
// NumPy's file format, for one float32 matrix.

#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice::apps {

/// Writes rows one after the other; the file is complete once `rows` were written.
class NpyWriter {
 public:
  static Result<NpyWriter> create(const std::string& path, std::size_t rows, std::size_t columns);
  Status write(std::span<const float> row);
  Status close();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace sluice::apps

#pragma once
// NumPy's file format, for one float32 matrix.

#include <span>
#include <string>
#include <utility>

#include "apps/output_file.h"
#include "base/status.h"

namespace sluice::apps {

/// Writes rows one after the other into the file that the path names; see OutputFile.
class NpyWriter {
 public:
  static Result<NpyWriter> create(const std::string& path, const RunFiles& files, std::size_t rows,
                                  std::size_t columns);
  Status write(std::span<const float> row);
  /// REQUIRES: every row was written.
  Status close() { return file_.close(); }

 private:
  NpyWriter(OutputFile file, std::string header)
      : file_(std::move(file)), header_(std::move(header)) {}

  OutputFile file_;
  std::string header_;  // until the first row
};

}  // namespace sluice::apps

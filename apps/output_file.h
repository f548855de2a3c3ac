#pragma once
// The file of a result: whole or not at all.

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "apps/run_files.h"
#include "base/status.h"

namespace sluice::apps {

/// What the path names. A file that is there stays the file that it is, links, owner and mode
/// included, and keeps its content until the first write; a device, a pipe and what is open already
/// (/dev/stdout) are written as they are. Without `close` a new file is removed and an older one is
/// left empty, if anything was written.
class OutputFile {
 public:
  OutputFile(OutputFile&&) = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// kInvalidArgument where `path` is one of the run's files; kIo names the path and what would
  /// help, here and below; kCancelled after Ctrl-C in a wait for a reader.
  static Result<OutputFile> create(const std::string& path, const RunFiles& files);
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  /// What was written so far stays if the process is killed.
  Status flush();
  Status close();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  OutputFile() = default;

  Status failure() const;

  std::string path_;
  bool created_ = false;  // the path named nothing before
  bool regular_ = false;  // a file of its own, which can be cut
  bool begun_ = false;
  std::unique_ptr<std::FILE, Closer> file_;  // null after `close`
};

}  // namespace sluice::apps

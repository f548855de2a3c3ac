#pragma once
// One file opened for block reads: direct where that works, else buffered with its pages dropped
// after use.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "base/status.h"

namespace sluice {

/// Constant after construction, hence usable from any thread. Movable, not copyable; closes on
/// destruction.
class OpenFile {
 public:
  /// Opens a regular file. With `allow_direct`, O_DIRECT is used if the file system has real direct
  /// reads, which a probing read proves. Errors: kNotFound, kInvalidArgument (not a regular file),
  /// kIo (the system's reason).
  static Result<OpenFile> open(const std::string& path, bool allow_direct);

  OpenFile(OpenFile&& other) noexcept
      : path_(std::move(other.path_)),
        descriptor_(std::exchange(other.descriptor_, -1)),
        size_(other.size_),
        alignment_(other.alignment_) {}
  OpenFile& operator=(OpenFile&& other) = delete;
  ~OpenFile();

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  /// In bytes, when the file was opened.
  std::uint64_t size() const { return size_; }
  /// In bytes, now; size() where the system does not tell.
  std::uint64_t size_now() const;
  /// In bytes; 1 for buffered files.
  std::size_t alignment() const { return alignment_; }
  bool direct() const { return alignment_ > 1; }

  /// Takes the pages of [offset, offset + bytes) out of the page cache; nothing for direct files.
  void drop_cached(std::uint64_t offset, std::size_t bytes) const;

 private:
  OpenFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::size_t alignment_ = 1;
};

}  // namespace sluice

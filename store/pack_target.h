#pragma once
// Where packing writes to: the store under a temporary name, and beside it a journal of what of it
// is on the disk. An interface so that tests can lose power at every step; `FileTarget` is real.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice {

/// A file that is written in place and made durable on request. Errors are kIo with the path, the
/// system's reason and the remedy. One thread at a time.
class PackFile {
 public:
  virtual ~PackFile() = default;
  virtual const std::string& path() const = 0;
  /// In bytes, now.
  virtual Result<std::uint64_t> size() const = 0;
  /// REQUIRES: the range lies within the file.
  virtual Status read(std::uint64_t offset, std::span<std::byte> out) const = 0;
  virtual Status write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual Status truncate(std::uint64_t bytes) = 0;
  /// What was done to the file before is on the disk when this has succeeded. When it has failed,
  /// some of that may be lost, and another try may not notice.
  virtual Status sync() = 0;
};

class PackTarget {
 public:
  virtual ~PackTarget() = default;
  /// The store's own path: it names nothing before `publish`.
  virtual const std::string& path() const = 0;
  /// The path names a file already, beside which a journal was left, as when a packer was killed
  /// while it published: `partial` is that file, for reading only.
  virtual bool has_its_name() const = 0;
  virtual PackFile& partial() = 0;
  virtual PackFile& journal() = 0;
  /// Bytes that files can still grow by.
  virtual Result<std::uint64_t> free_bytes() const = 0;
  /// The partial file gets the store's name, durably, and the journal goes. REQUIRES: the partial
  /// file was synced, or has the name. kInvalidArgument if the name has been taken meanwhile.
  virtual Status publish() = 0;
};

/// Of a path that names another file than the one that was to be written.
inline Status name_is_taken(const std::string& path) {
  return {ErrorCode::kInvalidArgument,
          path +
              ": is there already, and packing replaces nothing: remove it, or choose "
              "another name"};
}

}  // namespace sluice

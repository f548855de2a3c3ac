#pragma once
// Bounded, asynchronous reads of whole blocks of files, past the page cache where the file system allows it.
//
// Thread safety: all methods may be called from several threads; a completion is delivered exactly once, to whoever reaps it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice {

using FileIndex = std::uint32_t;

/// REQUIRES: offset, bytes and the address of `destination` are multiples of the file's alignment. The range may reach past
/// the end of the file: what lies there is left unwritten and is no error as long as `needed` bytes were read.
struct ReadRequest {
  FileIndex file = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  std::size_t needed = 0;  // the first `needed` bytes must arrive, or the read has failed
  std::byte* destination = nullptr;
  std::uint64_t tag = 0;   // the caller's name for it, handed back
};

struct ReadCompletion {
  std::uint64_t tag = 0;
  Status status;           // names the file, the offset and the system's reason
};

struct ReaderInfo {
  std::string name;        // "io_uring" or "pread pool"
  std::string why;         // why this one: "io_uring_setup: Operation not permitted", …
  bool direct = false;     // O_DIRECT on every file opened so far
  unsigned depth = 0;      // reads in flight at the most
};

struct ReaderCounters {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;     // asked of the system and delivered, padding included
  std::uint64_t retries = 0;   // short reads, EAGAIN, EINTR
};

class BlockReader {
 public:
  virtual ~BlockReader() = default;

  /// Opens a file for reading; O_DIRECT where it works, else buffered (and dropped from the page cache after reading).
  virtual Result<FileIndex> open(const std::string& path) = 0;
  virtual std::uint64_t file_size(FileIndex file) const = 0;
  /// What offset, length and address must be multiples of: 512 or 4096 for direct files, 1 otherwise.
  virtual std::size_t alignment(FileIndex file) const = 0;

  /// Tells the reader of memory that destinations will lie in (registered with the kernel if the lock limit allows).
  virtual void register_memory(std::span<std::byte> memory) = 0;

  /// Takes all requests; those beyond the depth wait inside. An error here means that none was taken.
  virtual Status submit(std::span<const ReadRequest> requests) = 0;
  /// Waits until at least one read is done (or returns at once when `wait` is false or nothing is under way), fills `out` from
  /// the front and returns how many.
  virtual std::size_t reap(std::span<ReadCompletion> out, bool wait) = 0;

  virtual ReaderInfo info() const = 0;
  virtual ReaderCounters counters() const = 0;
};

enum class ReaderKind { kAuto, kUring, kPread };
/// kAuto: the ring where the kernel grants one, else the pool. SLUICE_READER=uring|pread forces one.
Result<std::unique_ptr<BlockReader>> make_block_reader(ReaderKind kind, unsigned depth = 64);

}  // namespace sluice

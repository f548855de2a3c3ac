#pragma once
// Bounded, asynchronous reads of whole blocks of files, past the page cache where the file system
// allows it.
//
// Thread safety: all methods may be called from several threads; a completion is delivered exactly
// once, to whoever reaps it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice {

using FileIndex = std::uint32_t;

/// REQUIRES: offset, bytes and the address of `destination` are multiples of the file's alignment.
/// The range may reach past the end of the file, which is no error as long as `needed` bytes were
/// read; the destination's bytes there are undefined (a direct read fills whole sectors).
struct ReadRequest {
  FileIndex file = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  std::size_t needed = 0;  // the first `needed` bytes must arrive, or the read has failed
  std::byte* destination = nullptr;
  std::uint64_t tag = 0;  // the caller's name for it, handed back
};

struct ReadCompletion {
  std::uint64_t tag = 0;
  Status status;  // names the file, the offset and the system's reason
};

struct ReaderInfo {
  std::string name;     // "io_uring" or "pread pool"
  std::string why;      // why this one: "io_uring_setup: Operation not permitted", …
  bool direct = false;  // O_DIRECT on every file opened so far
  unsigned depth = 0;   // reads in flight at the most (a large request is several)
};

struct ReaderCounters {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;    // asked of the system and delivered, padding included
  std::uint64_t retries = 0;  // short reads, EAGAIN, EINTR
};

class BlockReader {
 public:
  /// Waits for the reads that the system has already, so that nothing writes to a destination
  /// afterwards.
  virtual ~BlockReader() = default;

  /// Opens a file for reading; O_DIRECT where it works, else buffered (and dropped from the page
  /// cache after reading).
  virtual Result<FileIndex> open(const std::string& path) = 0;
  virtual std::uint64_t file_size(FileIndex file) const = 0;
  /// What offset, length and address must be multiples of: 512 or 4096 for direct files, 1
  /// otherwise.
  virtual std::size_t alignment(FileIndex file) const = 0;

  /// Tells the reader of memory that destinations will lie in (registered with the kernel if the
  /// lock limit allows). Registering touches every page. REQUIRES: forget_memory before the memory
  /// is unmapped, unless the reader goes first.
  virtual void register_memory(std::span<std::byte> memory) = 0;
  /// Undoes register_memory for the very same span. REQUIRES: no read into it is under way.
  virtual void forget_memory(std::span<std::byte> memory) { static_cast<void>(memory); }

  /// From now on reads wait inside while `bytes` or more are in flight; 0: no such limit, as at
  /// first. What is asked for first then comes first: a disk that has everything at once finishes
  /// everything at the end.
  virtual void limit_in_flight(std::size_t bytes) = 0;

  /// Takes all requests; those beyond the depth wait inside, and move up when somebody submits or
  /// reaps. An error here (kInvalidArgument: a request breaks its promises) means that none was
  /// taken.
  virtual Status submit(std::span<const ReadRequest> requests) = 0;
  /// Waits until at least one read is done (or returns at once when `wait` is false or nothing is
  /// under way), fills `out` from the front and returns how many.
  virtual std::size_t reap(std::span<ReadCompletion> out, bool wait) = 0;

  virtual ReaderInfo info() const = 0;
  virtual ReaderCounters counters() const = 0;
};

enum class ReaderKind { kAuto, kUring, kPread };
/// kAuto: the ring where the kernel grants one, else the pool; the environment's
/// SLUICE_READER=uring|pread forces one. Errors: kUnsupported where the ring is forced and refused,
/// kInvalidArgument for an unknown SLUICE_READER.
Result<std::unique_ptr<BlockReader>> make_block_reader(ReaderKind kind, unsigned depth = 64);

}  // namespace sluice

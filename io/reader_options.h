#pragma once
// How the two readers are made, for those who want more say than make_block_reader gives.

#include <cstddef>
#include <memory>
#include <string>

#include "io/block_reader.h"

namespace sluice {

struct ReaderOptions {
  unsigned depth =
      64;  // pieces in flight at the most; the pool has as many threads, up to kPoolThreads
  std::size_t piece_bytes = 0;    // larger requests are split into pieces of this; 0: kPieceBytes
  bool direct = true;             // false: buffered, with the page cache cleaned after each read
  std::string why = "asked for";  // ReaderInfo::why: what led to this reader
};

inline constexpr std::size_t kPieceBytes = std::size_t{512} << 10;
inline constexpr unsigned kPoolThreads = 12;

/// Fails with kUnsupported, naming the call and the system's reason, where the kernel or a sandbox
/// refuses io_uring.
Result<std::unique_ptr<BlockReader>> make_uring_reader(const ReaderOptions& options = {});

/// Fails with kIo when not even one thread can be started.
Result<std::unique_ptr<BlockReader>> make_pread_reader(const ReaderOptions& options = {});

}  // namespace sluice

#pragma once
// How the two readers are made, for those who want more say than make_block_reader gives.

#include <cstddef>
#include <memory>
#include <string>

#include "io/block_reader.h"

namespace sluice {

struct ReaderOptions {
  unsigned depth = 64;            // pieces in flight at the most; the pool: up to kPoolThreads
  std::size_t piece_bytes = 0;    // larger requests are split into pieces of this; 0: kPieceBytes
  bool direct = true;             // false: buffered, with the page cache cleaned after each read
  std::string why = "asked for";  // ReaderInfo::why: what led to this reader
};

// On the one virtual disk measured, pieces from 128 KiB to 1 MiB gave the same throughput; larger
// ones cost less processor time.
inline constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
// A judgement: on that disk 4 to 32 threads made no clear difference.
inline constexpr unsigned kPoolThreads = 16;

/// Fails with kUnsupported, naming the call and the system's reason, where the kernel or a sandbox
/// refuses io_uring.
Result<std::unique_ptr<BlockReader>> make_uring_reader(const ReaderOptions& options = {});

/// Fails with kIo when not even one thread can be started.
Result<std::unique_ptr<BlockReader>> make_pread_reader(const ReaderOptions& options = {});

}  // namespace sluice

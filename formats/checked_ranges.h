#pragma once
// Ranges of a checkpoint's files that are what was written there: where a file keeps checksums, a
// whole block is read and checked for them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "formats/checksum.h"
#include "io/block_reader.h"

namespace sluice {

/// Bytes of a file that are in memory.
struct RangeInMemory {
  FileRange range;
  const std::byte* bytes = nullptr;
};

/// Errors name the layer and expert, or the tensor, and where its damaged block lies.
class CheckedRanges {
 public:
  /// `files[i]` is the reader's index of checkpoint.files[i]. Borrows all; `cancel` may be null.
  CheckedRanges(const Checkpoint& checkpoint, BlockReader& reader, std::span<const FileIndex> files,
                const std::atomic<bool>* cancel)
      : checkpoint_(checkpoint), reader_(reader), files_(files), cancel_(cancel) {}

  /// The range's bytes, valid until the next `read`. kCorrupt: they are damaged.
  Result<std::span<const std::byte>> read(const FileRange& range);
  /// Whether the last `read` has brought this range, too.
  bool holds(const FileRange& range) const;
  std::span<const std::byte> held(const FileRange& range) const;

  /// Checks the blocks that these ranges are of, which were read already: only a block that is not
  /// all there is read again. With `more` the last one may go on in the next call's ranges.
  Status check(std::vector<RangeInMemory> ranges, bool more = false);

 private:
  Status fill(const FileRange& range);
  Status add(const RangeInMemory& place);
  Status read_again();
  Status settle();
  Status damaged(const CheckedBlock& block) const;

  const Checkpoint& checkpoint_;
  BlockReader& reader_;
  const std::span<const FileIndex> files_;
  const std::atomic<bool>* const cancel_;
  FileRange here_;  // what `bytes_` holds
  std::vector<std::byte> bytes_;

  // What `check` is at: a block, the checksum of what it has seen of it, and where that ends.
  const CheckedBlock* open_ = nullptr;
  RunningChecksum sum_;
  std::uint64_t at_ = 0;
  const CheckedBlock* sound_ = nullptr;  // the last block that was
};

}  // namespace sluice

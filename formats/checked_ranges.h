#pragma once
// Ranges of a checkpoint's files that are what was written there: where a file keeps checksums, a
// whole block is read and checked for them.

#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "io/block_reader.h"

namespace sluice {

/// Bytes of a file that are in memory.
struct RangeInMemory {
  FileRange range;
  const std::byte* bytes = nullptr;
};

class CheckedRanges {
 public:
  /// `files[i]` is the reader's index of checkpoint.files[i]. Borrows all; `cancel` may be null.
  CheckedRanges(const Checkpoint& checkpoint, BlockReader& reader,
                const std::vector<FileIndex>& files, const std::atomic<bool>* cancel)
      : checkpoint_(checkpoint), reader_(reader), files_(files), cancel_(cancel) {}

  /// The range's bytes, valid until the next `read`. kCorrupt: they are damaged.
  Result<std::span<const std::byte>> read(const FileRange& range);
  /// Whether the last `read` has brought this range, too.
  bool holds(const FileRange& range) const;
  std::span<const std::byte> held(const FileRange& range) const;

  /// Checks the blocks that these ranges are of, which were read already: only a block that is not
  /// all there is read again.
  Status check(std::vector<RangeInMemory> ranges);

 private:
  enum class Finding { kSound, kDamaged, kNotAllThere };
  static Finding look_at(const CheckedBlock& block, std::span<const RangeInMemory> ranges);
  Status fill(const FileRange& range);

  const Checkpoint& checkpoint_;
  BlockReader& reader_;
  const std::vector<FileIndex>& files_;
  const std::atomic<bool>* const cancel_;
  FileRange here_;  // what `bytes_` holds
  std::vector<std::byte> bytes_;
};

}  // namespace sluice

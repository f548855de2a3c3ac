#pragma once
// Writes a store's blocks in order, hashes them on the way, and journals those that are on the
// disk.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "formats/checksum.h"
#include "formats/store_format.h"
#include "store/pack_journal.h"
#include "store/pack_target.h"

namespace sluice {

/// Borrows everything. One thread at a time.
class BlockWriter {
 public:
  /// Goes on after the journal's blocks. Whenever `sync_bytes` have been written they are brought
  /// to the disk and journalled.
  BlockWriter(const StorePlan& plan, PackFile& file, PackJournal& journal,
              std::uint64_t sync_bytes);

  /// Where the next bytes go: 0 where the journal has no blocks, else at a block or the table.
  std::uint64_t offset() const { return offset_; }
  /// The bytes at `offset()`.
  Status write(std::span<const std::byte> bytes);
  /// Brings what was written to the disk and journals the blocks that are whole. Does nothing once
  /// a sync has failed: what that has lost, nobody can tell.
  Status settle();
  /// After the last block: settles, then the table, on the disk.
  Status finish();

 private:
  void hash(std::span<const std::byte> bytes);
  Status sync();

  const StorePlan& plan_;
  PackFile& file_;
  PackJournal& journal_;
  const std::uint64_t sync_bytes_;
  std::uint64_t offset_ = 0;
  std::uint64_t synced_ = 0;              // everything before is on the disk
  std::size_t block_ = 0;                 // the first that is not hashed to its end
  std::vector<std::uint64_t> checksums_;  // of hashed blocks that are not in the journal
  RunningChecksum hash_;                  // of what came of `block_`
  bool unsure_ = false;                   // a sync has failed
};

/// Where a packer goes on that has so many blocks.
std::uint64_t offset_after(const StorePlan& plan, std::size_t blocks);

}  // namespace sluice

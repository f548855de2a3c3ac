#pragma once
// Which blocks of a store that is being packed are on the disk: the file that makes a killed pack
// go on where it stopped.
//
// The file is little-endian u64: a head, "SLCPACK2", the parts of a PackIdentity and the checksum
// of all these; and records of three, the number of a block, counted from 0, its checksum, and the
// checksum of these two and of the head's. A record is written only after its block is on
// the disk, so whatever is found here was there, and what follows the first record that is wrong is
// worth nothing. Whether a block still is what it was, its checksum tells (kept_blocks.h).

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "store/pack_identity.h"
#include "store/pack_target.h"

namespace sluice {

/// Borrows the file. One thread at a time.
class PackJournal {
 public:
  /// Reads at most `most_blocks` records. kInvalidArgument for a file that is no journal, or is
  /// another version's.
  static Result<PackJournal> open(PackFile& file, std::uint64_t most_blocks);

  /// Of the pack that was begun; nothing if none was.
  const std::optional<PackIdentity>& identity() const { return identity_; }
  /// Checksums of blocks 0, 1, …, as many as are on the disk.
  const std::vector<std::uint64_t>& checksums() const { return checksums_; }

  /// Forgets all blocks from `keep` on, durably, and is then ready for `append`. REQUIRES: `keep`
  /// is 0, or `identity` is what it has.
  Status restart(const PackIdentity& identity, std::size_t keep);
  /// Of the blocks that follow; durable on return. REQUIRES: these blocks are; `restart` came
  /// first.
  Status append(std::span<const std::uint64_t> checksums);

 private:
  explicit PackJournal(PackFile& file) : file_(&file) {}

  PackFile* file_;
  std::optional<PackIdentity> identity_;
  std::uint64_t pin_ = 0;  // the head's checksum
  std::vector<std::uint64_t> checksums_;
};

}  // namespace sluice

#pragma once
// Which blocks of a store that is being packed are on the disk: the file that makes a killed pack
// go on where it stopped.
//
// The file is records of 24 bytes, each three little-endian u64. The first is "SLCPACK1" and the
// pin; those that follow are the number of a block, counted from 0, and its checksum. Each ends
// with the checksum of its two words and the pin. A record is written only after its block is on
// the disk, so whatever is found here was there, and what follows the first record that is wrong is
// worth nothing. Whether a block still is what it was, its checksum tells (kept_blocks.h).

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "store/pack_target.h"

namespace sluice {

/// Borrows the file. One thread at a time.
class PackJournal {
 public:
  /// `pin` stands for everything that decides the store's bytes: records of another pin do not
  /// count. Reads at most `most_blocks` records. kInvalidArgument for a file that is no journal.
  static Result<PackJournal> open(PackFile& file, std::uint64_t pin, std::uint64_t most_blocks);

  /// Nothing had been begun.
  bool fresh() const { return fresh_; }
  /// What had been begun was of another pin.
  bool other() const { return other_; }
  /// Checksums of blocks 0, 1, …, as many as are on the disk.
  const std::vector<std::uint64_t>& checksums() const { return checksums_; }

  /// Forgets all blocks from `keep` on, durably, and is then ready for `append`.
  Status restart(std::size_t keep);
  /// Of the blocks that follow; durable on return. REQUIRES: these blocks are; `restart` came
  /// first.
  Status append(std::span<const std::uint64_t> checksums);

 private:
  PackJournal(PackFile& file, std::uint64_t pin) : file_(&file), pin_(pin) {}

  PackFile* file_;
  std::uint64_t pin_;
  bool fresh_ = true, other_ = false;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace sluice

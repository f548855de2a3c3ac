#pragma once
// Packs a checkpoint into a store, as `plan_store` has planned it, in bounded memory: two chunks of
// the store, one of which is read while the other is hashed and written. What was packed before a
// kill, a full disk or a stop is kept, and the next packer goes on from there:
//
//   head ── blocks, chunk by chunk ── table ── name
//             │ every sync_bytes: sync the file, then journal its blocks, then sync the journal

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "formats/store_format.h"
#include "io/block_reader.h"
#include "store/block_writer.h"
#include "store/pack_identity.h"
#include "store/pack_journal.h"
#include "store/pack_target.h"
#include "store/plan_reader.h"

namespace sluice {

struct PackOptions {
  std::size_t chunk_bytes = std::size_t{32} << 20;
  std::uint64_t sync_bytes = std::uint64_t{256} << 20;  // as many may have to be packed again
  /// Called between two chunks, on the caller's thread, with the bytes of the store that are
  /// written. May be empty.
  std::function<void(std::uint64_t written)> progress = {};
  /// The same of what an earlier packer has left, while it is read back: so much of `listed` bytes
  /// is right.
  std::function<void(std::uint64_t right, std::uint64_t listed)> checking = {};
  const std::atomic<bool>* cancel = nullptr;
  /// Of the columns of what becomes planes; null: all count alike.
  const ImportanceMatrix* importance = nullptr;
};

/// Borrows everything but the options; nobody else may use the reader meanwhile. One thread at a
/// time.
class Packer {
 public:
  /// Finds out what is there already, reads it back to see that it is still right, and whether the
  /// rest has room. kIo says how much room is missing; kInvalidArgument: the partial file, the
  /// journal or the name is somebody else's, or what is there is of another pack: says what
  /// differs; kCancelled, in which case all stays as it is.
  static Result<std::unique_ptr<Packer>> begin(const StorePlan& plan, BlockReader& reader,
                                               PackTarget& target, PackOptions options = {});

  /// Bytes of the store that an earlier packer has left.
  std::uint64_t resumed_bytes() const { return resumed_; }
  /// Bytes behind these that it had on the disk, too, and that must be packed again: the block with
  /// which they begin is not what it wrote, or is missing.
  std::uint64_t damaged_bytes() const { return damaged_; }
  /// An earlier packer had done all but remove the journal.
  bool was_packed() const { return target_.has_its_name(); }
  /// Bytes of the store that the next packer would find.
  std::uint64_t kept_bytes() const { return offset_after(plan_, journal_.checksums().size()); }

  /// Packs and publishes. After an error what is packed is kept, and journalled as far as the disk
  /// allows. Errors: the reader's and the target's; kCancelled; kCorrupt: the source changed
  /// meanwhile. To be called once.
  Status run();

 private:
  Packer(const StorePlan& plan, PlanReader source, PackTarget& target, PackJournal journal,
         PackOptions options)
      : plan_(plan),
        source_(std::move(source)),
        target_(target),
        journal_(std::move(journal)),
        options_(std::move(options)) {}

  Status check_finished();
  Status make_room();
  Status copy();
  Status check_source();

  const StorePlan& plan_;
  PlanReader source_;
  PackTarget& target_;
  PackJournal journal_;
  const PackOptions options_;
  std::optional<BlockWriter> writer_;
  AlignedBuffer chunks_[2];
  PackIdentity identity_;
  std::uint64_t resumed_ = 0, damaged_ = 0;
};

}  // namespace sluice

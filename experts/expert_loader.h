#pragma once
// Turns "this expert into that slot" into sector reads, and their completions back into "this
// expert is there" or "it failed".
//
// Not thread-safe. It reaps whatever the reader delivers, so the reader's other users must have
// nothing under way.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/clock.h"
#include "base/compute.h"
#include "base/status.h"
#include "cache/cache_policy.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_store.h"
#include "experts/slot_layout.h"
#include "io/block_reader.h"

namespace sluice {

/// A load that is over: all its reads are in, nothing writes into its slot any more.
struct FinishedLoad {
  CacheKey key;
  std::uint64_t bytes = 0;  // of its reads that succeeded, padding included
  Status status;            // names layer, expert, file and offset
  double seconds = 0;       // that the reader was busy with it; 0: nobody saw when it came in
};

class ExpertLoader {
 public:
  /// `files`: the reader's index of each of the catalogue's files that holds experts. The catalogue
  /// and the reader outlive the loader. kUnsupported: a file asks for a stricter alignment than
  /// slots have.
  static Result<ExpertLoader> create(const ExpertCatalogue& catalogue, BlockReader& reader,
                                     std::vector<FileIndex> files, Clock clock);

  /// Of the slot that `add` needs for this part of an expert.
  std::size_t slot_bytes(CacheKey key) const;
  /// The most that the slot of an expert's part takes, whatever the alignment of its files.
  static std::size_t slot_bytes_bound(const ExpertLayer& layer, std::uint32_t expert,
                                      std::size_t part);
  /// Memory that the loader needs for itself: where experts are relaid, room for one.
  static std::size_t own_bytes(const ExpertCatalogue& catalogue);
  /// Whether what was read into `slot` is what was written: nothing has been done to it since. Ok
  /// where the file keeps no checksums; kCorrupt names layer, expert, file and offset. May be
  /// called from several threads.
  Status check(CacheKey key, const std::byte* slot) const;
  /// Makes the matrices of the bytes that were read into `slot`, in the same slot, on the device's
  /// threads. REQUIRES: the expert's layer is relaid, and this was not done since the load.
  void relay(CacheKey key, std::byte* slot, Compute& compute);
  /// The matrices of an expert whose parts were loaded into `slots`, the first ones or all, and
  /// relaid where its layer is. Of experts in parts: what those parts make.
  ExpertWeights weights(CacheKey key, std::span<const std::byte* const> slots) const;

  /// Notes a load for the next `submit`. REQUIRES: no load of the key is under way; `slot` is a
  /// multiple of kMaxAlignment and stays valid until the load is finished.
  void add(CacheKey key, std::byte* slot);
  /// Hands all noted reads to the reader at once. After an error none is under way and all noted
  /// loads are forgotten.
  Status submit();
  /// Appends loads that finished to `finished`; with `wait`, waits until at least one read is in.
  /// (One read may not be a whole load: `finished` can stay as it was.)
  void reap(std::vector<FinishedLoad>& finished, bool wait);

  std::size_t under_way() const { return under_way_; }

 private:
  struct File {
    FileIndex index = 0;
    std::size_t alignment = 1;
    std::uint64_t size = 0;
  };
  struct Load {
    CacheKey key;
    std::byte* slot = nullptr;
    std::size_t reads_left = 0;
    std::uint64_t bytes = 0;  // of reads that succeeded
    Status status;
  };
  static constexpr std::size_t kReadsPerLoad = 8;  // six at the most; a tag is load · 8 + read

  ExpertLoader(const ExpertCatalogue& catalogue, BlockReader& reader, std::vector<File> files,
               AlignedBuffer relaid, Clock clock);
  const ExpertLayer& layer_of(CacheKey key) const { return catalogue_->layers()[key.layer]; }
  const ExpertRanges& ranges_of(CacheKey key) const {
    return layer_of(key).part(key.expert, key.plane_group);
  }
  void place_groups(const ExpertLayer& layer, std::span<const std::byte* const> parts,
                    WeightMatrix& matrix) const;
  SlotLayout layout(CacheKey key) const;
  void complete(ReadCompletion& completion, std::vector<FinishedLoad>& finished);
  void finish(std::size_t load, std::vector<FinishedLoad>& finished);
  void collect(std::vector<FinishedLoad>& finished, bool wait);
  void time(std::span<FinishedLoad> finished, bool waited);
  std::string describe(CacheKey key, const SlotRead& read) const;

  const ExpertCatalogue* catalogue_;
  BlockReader* reader_;
  std::vector<File> files_;  // as in the catalogue
  AlignedBuffer relaid_;     // own_bytes()
  std::vector<ReadRequest> noted_;
  std::vector<Load> loads_;  // slots that are used again
  std::vector<std::uint32_t> free_loads_;
  std::vector<std::uint32_t> noted_loads_;
  std::vector<ReadCompletion> completions_;
  std::size_t under_way_ = 0;  // loads
  Clock clock_;
  // Since when the reader has been busy without a break, as far as that is known, and how many
  // loads it has finished since.
  std::optional<double> busy_since_;
  std::size_t finished_since_ = 0;
};

}  // namespace sluice

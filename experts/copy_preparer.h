#pragma once
// Readies copies of experts for the device: checked once, relaid where no kernel multiplies what
// the file has, repacked when they come back.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/compute.h"
#include "base/status.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_loader.h"
#include "experts/expert_visit.h"

namespace sluice {

/// Remembers of every copy what was done to it. Not thread-safe.
class CopyPreparer {
 public:
  /// The catalogue, the loader and the memory that the cache hands out outlive it.
  CopyPreparer(const ExpertCatalogue& catalogue, ExpertLoader& loader, std::byte* memory,
               const CacheShape& shape, bool sparse_hidden);

  /// As ExpertStore has it, for experts of a visit that have arrived. After an error `damaged` are
  /// the wants whose copies do not fit their checksums.
  Status prepare(const ExpertVisit& visit, std::span<const std::uint32_t> experts,
                 Compute& compute);
  std::span<const std::uint32_t> damaged() const { return damaged_; }
  /// At most so many bits; kExactWidth: all that are wanted. REQUIRES: prepared.
  ExpertWeights weights(const ExpertVisit& visit, std::uint32_t expert, unsigned bits) const;

 private:
  /// How the gate, up and down of the copy of that version lie in their slot. A copy of another
  /// version lies there as it was read.
  struct CopyLayout {
    std::uint32_t version = 0;
    bool repacked = false;  // else it was checked or relaid
    WeightLayout matrices[3] = {};
  };

  Status check(const ExpertVisit& visit, std::span<const std::uint32_t> experts, Compute& compute);
  void relay(const ExpertVisit& visit, std::span<const std::uint32_t> experts, Compute& compute);
  void repack(const ExpertVisit& visit, std::span<const std::uint32_t> experts, Compute& compute);
  std::byte* slot(const Want& want) const { return memory_ + want.copy.extent.offset; }
  const ExpertLayer& layer_of(const Want& want) const {
    return catalogue_.layers()[want.key.layer];
  }
  CopyLayout& layout_of(const Want& want) { return layouts_[shape_.index(want.key)]; }
  const CopyLayout& layout_of(const Want& want) const { return layouts_[shape_.index(want.key)]; }
  bool is_current(const Want& want) const { return layout_of(want).version == want.copy.version; }

  const ExpertCatalogue& catalogue_;
  ExpertLoader& loader_;
  std::byte* const memory_;
  const CacheShape& shape_;
  const bool sparse_hidden_;
  std::vector<CopyLayout> layouts_;  // [keys]
  // What `check` and `repack` work on; reserved for the widest layer.
  struct Unchecked {
    std::uint32_t want;
    Status status;
  };
  std::vector<Unchecked> unchecked_;
  std::vector<std::uint32_t> damaged_;
  struct Returned {
    std::uint32_t expert;
    ExpertWeights weights;
  };
  std::vector<Returned> returned_;
  std::vector<RepackTask> repack_tasks_;
};

}  // namespace sluice

#pragma once
// Reads experts that a coming layer will likely want before its router has spoken.
//
// A guess costs what an idle disk can give: nobody waits for it, its failure is nobody's, and a
// copy that came in vain was never touched, so the cache gives it up first. A guess that was right
// becomes the visit's: the copy in memory, or the load that is still under way.
//
// Not thread-safe.

#include <cstdint>
#include <span>
#include <vector>

#include "cache/expert_cache.h"
#include "experts/expert_loader.h"
#include "experts/expert_store.h"
#include "experts/likely_expert.h"

namespace sluice {

class Prefetcher {
 public:
  /// The cache, the loader and the memory that the cache hands out outlive it, and `statistics`
  /// [layers], where it counts what was expected, rightly, late and in vain. With up to `most`
  /// loads of two layers at a time it allocates nothing.
  Prefetcher(ExpertCache& cache, ExpertLoader& loader, std::byte* memory, std::size_t most,
             std::span<ExpertStatistics> statistics)
      : cache_(cache), loader_(loader), memory_(memory), statistics_(statistics) {
    likely_.reserve(most);
    loads_.reserve(2 * most);
  }

  /// What the layer of that turn will likely want, best first, instead of what was expected before:
  /// the cache keeps all of it, and what is at least so likely is loaded by `start`. Ids that the
  /// layer does not have are passed over. Loads that are under way go on.
  void expect(std::uint32_t turn, std::span<const LikelyExpert> likely, float least);
  /// Nothing more is expected.
  void expect_nothing() { likely_.clear(); }
  /// Starts to load the first `most` of what is expected and not in memory; fewer where the cache
  /// makes no room.
  void start(std::size_t most);
  /// Whether `start` has something left to look at.
  bool expects() const { return next_ < likely_.size(); }
  /// A visit wants the expert: from now on its copy, or its load with the one pin that goes with
  /// it, is the visit's. False: it was not the prefetcher's.
  bool claim(CacheKey key);
  /// A load has finished. False: it is a visit's.
  bool finish(const FinishedLoad& load);
  /// The turn of this layer has come: what nobody claimed of it was a wrong guess, and nothing is
  /// expected until somebody says what.
  void close(std::uint32_t layer);

  /// Loads that no visit has claimed.
  std::size_t under_way() const { return under_way_; }

 private:
  struct Load {
    CacheKey key;
    bool under_way = true;
    bool wrong = false;
  };
  std::vector<Load>::iterator find(CacheKey key);
  void drop(std::vector<Load>::iterator load);

  ExpertCache& cache_;
  ExpertLoader& loader_;
  std::byte* const memory_;
  const std::span<ExpertStatistics> statistics_;
  std::vector<CacheKey> likely_;  // best first
  std::size_t next_ = 0;          // of likely_: what `start` has not looked at
  std::vector<Load> loads_;
  std::size_t under_way_ = 0;
};

}  // namespace sluice

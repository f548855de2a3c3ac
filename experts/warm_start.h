#pragma once
// Hands what was in memory from one run to the next: reads an earlier run's experts back into an
// empty cache in moments in which the disk has nothing else to do, and counts what the next run
// will be told.
//
// Nobody waits for such a read, its failure is nobody's, and it takes only room that is free: what
// this run asked for is worth more than what an earlier one did. How much the disk is given at a
// time is measured: as much as it had finished when a router next spoke.
//
// Not thread-safe.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "cache/expert_cache.h"
#include "experts/expert_loader.h"
#include "experts/expert_store.h"
#include "experts/hot_set.h"

namespace sluice {

class WarmStart {
 public:
  /// The cache, the loader and the memory that the cache hands out outlive it, and `statistics`
  /// [layers], where it counts its loads. `most`: loads under way at the most; `elsewhere`: what is
  /// not to be read.
  WarmStart(ExpertCache& cache, ExpertLoader& loader, std::byte* memory, std::size_t most,
            std::span<ExpertStatistics> statistics, std::function<bool(CacheKey)> elsewhere);

  /// What is to be read: best first, by turns of every layer, so that a token's first layers find
  /// theirs as its last ones do. The cache's policy is shown the uses that were counted, and they
  /// count half in the next hot set. REQUIRES: ids that the model has; no visit yet.
  void take_over(const HotSet& earlier);
  /// A visit wants these.
  void count(std::uint32_t turn, std::span<const CacheKey> wanted);
  /// `residents`, those most worth keeping first, and behind them what is left to be read.
  HotSet hand_over(std::span<const CacheKey> residents) const;

  /// Whether there is something left to read, and room for it.
  bool pending() const { return next_ < keys_.size() && !full_; }
  /// Nothing else is being read: gives the disk what it is likely to finish before it is wanted.
  void start();
  /// Gives it as much as ever.
  void start_all() { load(most_); }
  /// The disk is wanted from now on.
  void yield();
  /// A visit wants the expert: its load, with the one pin that goes with it, is the visit's.
  void claim(CacheKey key);
  /// A load has finished. False: it is somebody else's.
  bool finish(const FinishedLoad& load);

  /// Loads that no visit has claimed.
  std::size_t under_way() const { return loads_.size(); }

 private:
  void load(std::size_t most);
  void recall(const HotSet& earlier);

  ExpertCache& cache_;
  ExpertLoader& loader_;
  std::byte* const memory_;
  const std::size_t most_;
  const std::span<ExpertStatistics> statistics_;
  const std::function<bool(CacheKey)> elsewhere_;
  std::vector<CacheKey> keys_;          // to be read
  std::size_t next_ = 0;                // of keys_
  bool full_ = false;                   // the cache is
  std::vector<CacheKey> loads_;         // under way
  std::size_t spare_ = 1;               // loads that the disk finishes unnoticed
  std::size_t given_ = 0;               // under way when it was last given some
  std::size_t came_ = 0;                // since the disk was last wanted
  std::uint32_t pause_ = 1, rest_ = 0;  // visits to come, with nothing spare, next time and now
  std::vector<std::uint32_t> visits_;   // [layers]
  std::vector<std::uint32_t> uses_;     // [keys]
};

}  // namespace sluice

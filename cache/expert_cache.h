#pragma once
// The book-keeping of one tier: which experts have an extent of its memory, in which state, and who
// holds on to them. The bytes themselves are the caller's.
//
// Thread-safe: one mutex guards everything, the policy included.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/extent_arena.h"

namespace sluice {

enum class CopyState : std::uint8_t { kEmpty, kLoading, kReady };

/// Where a key's copy is. `version` grows with every load of the key: an equal version is the same
/// copy.
struct CachedCopy {
  Extent extent;
  std::uint32_t version = 0;
};

/// What `pin` found; `copy` is meaningless where it found nothing.
struct PinnedCopy {
  CopyState state = CopyState::kEmpty;
  CachedCopy copy;
};

struct CacheCounters {
  std::uint64_t evictions = 0;
  std::uint64_t evicted_bytes = 0;
};

class ExpertCache {
 public:
  ExpertCache(CacheShape shape, std::uint64_t capacity_bytes, std::unique_ptr<CachePolicy> policy);

  /// A layer's turn begins and `wanted` are what its router chose: the policy's clock and touches.
  /// `scores`: of each, its shares of the rows' weights, summed; none where unknown.
  void visit(std::uint32_t layer, std::span<const CacheKey> wanted,
             std::span<const float> scores = {});

  /// Its expert is likely wanted at the next turn of its layer, as CachePolicy::expect has it.
  void expect(CacheKey key, float probability);
  /// Ready or Loading: pins the copy, which then stays where it is; Empty: does nothing.
  PinnedCopy pin(CacheKey key);
  /// Empty → Loading with one pin, evicting as the policy chooses until `bytes` fit. None if they
  /// cannot while the pinned and the loading stay: try again after an `unpin`. REQUIRES: the key is
  /// Empty and bytes > 0.
  std::optional<CachedCopy> reserve(CacheKey key, std::uint64_t bytes);
  /// The same where the policy would rather give up another resident than this key, once it is one.
  std::optional<CachedCopy> reserve_if_worth(CacheKey key, std::uint64_t bytes);
  /// What would have to leave first for it, in the policy's view: the key itself, if others are
  /// worth more or pinned. None: there is room. Some policies take the question for a key that came
  /// and went, and may answer otherwise next time. REQUIRES: as above.
  std::optional<CacheKey> displaced_by(CacheKey key, std::uint64_t bytes);
  /// The same where the room is free: nothing is evicted for it.
  std::optional<CachedCopy> reserve_free(CacheKey key, std::uint64_t bytes);
  /// Loading → Ready; pins stay. REQUIRES: the key is Loading.
  void loaded(CacheKey key);
  /// Loading → Empty; voids all pins. REQUIRES: the key is Loading and nothing writes into its
  /// extent any more.
  void failed(CacheKey key);
  /// Ready → Empty; voids all pins, and is no eviction. REQUIRES: the key is Ready and nobody uses
  /// its extent any more.
  void discard(CacheKey key);
  /// Evicts all that has no pin.
  void clear();
  /// Gives back one pin. REQUIRES: the caller has one.
  void unpin(CacheKey key);

  CopyState state(CacheKey key) const;
  /// The Ready ones, first those that the policy would give up last.
  std::vector<CacheKey> residents() const;

  const CacheShape& shape() const { return shape_; }
  std::uint64_t capacity() const;
  std::uint64_t free_bytes() const;
  std::uint64_t pinned_bytes() const;
  CacheCounters counters() const;

 private:
  struct Entry {
    Extent extent;
    std::uint32_t version = 0;
    std::uint32_t pins = 0;
    CopyState state = CopyState::kEmpty;
  };
  Entry& entry(CacheKey key) { return entries_[shape_.index(key)]; }
  const Entry& entry(CacheKey key) const { return entries_[shape_.index(key)]; }
  std::optional<CachedCopy> reserve(CacheKey key, std::uint64_t bytes, bool if_worth);
  std::optional<CacheKey> first_to_leave(CacheKey key, std::uint64_t bytes);
  CachedCopy take(CacheKey key, Extent extent);
  std::optional<CacheKey> choose_victim(std::uint64_t bytes);
  void evict(CacheKey victim);
  void give_up(CacheKey key);
  void drop(CacheKey key, Entry& gone);

  const CacheShape shape_;
  mutable std::mutex mutex_;  // guards all below
  std::unique_ptr<CachePolicy> policy_;
  ExtentArena arena_;
  std::vector<Entry> entries_;        // [keys]
  CachePolicy::Evictable evictable_;  // Ready and unpinned
  std::uint64_t pinned_bytes_ = 0;
  CacheCounters counters_;
};

}  // namespace sluice

#pragma once
// What a cache would hold if another policy had chosen: the same routing and the same bytes, no
// copies. Misses come in at the end of a visit, and nothing that it wants leaves meanwhile.

#include <memory>
#include <span>
#include <vector>

#include "cache/cache_policy.h"

namespace sluice {

/// Not thread-safe.
class GhostCache {
 public:
  GhostCache(const CacheShape& shape, std::unique_ptr<CachePolicy> policy);

  /// As for a CachePolicy; `bytes` are the key's.
  void visit(std::uint32_t layer) { policy_->visit(layer); }
  void touch(CacheKey key, float score) { policy_->touch(key, score); }
  void admit(CacheKey key, std::uint64_t bytes);
  void forget(CacheKey key);

  bool holds(CacheKey key) const { return bytes_[shape_.index(key)] != 0; }
  /// The visit is over: what it wanted comes in, into `capacity` bytes. `sizes`: of every key, 0
  /// for what does not come in at all.
  void load(std::span<const CacheKey> wanted, std::span<const std::uint64_t> sizes,
            std::uint64_t capacity);

 private:
  CacheShape shape_;
  std::unique_ptr<CachePolicy> policy_;
  std::vector<std::uint64_t> bytes_;  // [keys]; 0: not held
  std::uint64_t used_ = 0;            // bytes
  std::vector<std::uint8_t> stays_;   // [keys]
  CachePolicy::Evictable evictable_;
};

}  // namespace sluice

#include "cache/ghost_cache.h"

#include <utility>

namespace sluice {

GhostCache::GhostCache(const CacheShape& shape, std::unique_ptr<CachePolicy> policy)
    : shape_(shape),
      policy_(std::move(policy)),
      bytes_(shape.size()),
      stays_(shape.size()),
      evictable_([this](CacheKey key) { return stays_[shape_.index(key)] == 0; }) {}

void GhostCache::admit(CacheKey key, std::uint64_t bytes) {
  used_ += bytes;
  bytes_[shape_.index(key)] = bytes;
  policy_->admit(key, bytes);
}

void GhostCache::forget(CacheKey key) {
  used_ -= std::exchange(bytes_[shape_.index(key)], 0);
  policy_->forget(key);
}

void GhostCache::load(std::span<const CacheKey> wanted, std::span<const std::uint64_t> sizes,
                      std::uint64_t capacity) {
  for (const CacheKey key : wanted) stays_[shape_.index(key)] = 1;
  for (const CacheKey key : wanted) {
    const std::uint64_t bytes = sizes[shape_.index(key)];
    if (bytes == 0 || holds(key)) continue;
    std::optional<CacheKey> victim;
    while (used_ + bytes > capacity && (victim = policy_->victim(evictable_))) forget(*victim);
    if (used_ + bytes <= capacity) admit(key, bytes);
  }
  for (const CacheKey key : wanted) stays_[shape_.index(key)] = 0;
}

}  // namespace sluice

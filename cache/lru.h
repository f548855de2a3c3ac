#pragma once
// Least recently used, for comparison: layers come round in a cycle, and a cycle larger than the
// cache empties it of everything that was about to be used again.

#include "cache/cache_policy.h"

namespace sluice {

class Lru final : public CachePolicy {
 public:
  explicit Lru(const CacheShape& shape);

  std::string_view name() const override { return "lru"; }
  void visit(std::uint32_t) override { now_ += 1; }
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  // A ring through the resident keys, oldest first. One more link than there are keys closes it; a
  // link outside points at itself.
  struct Link {
    std::uint32_t older, newer;
    std::uint64_t used = 0;  // at which visit
  };
  bool resident(std::uint32_t index) const { return links_[index].newer != index; }
  void unlink(std::uint32_t index);
  void append(std::uint32_t index);

  CacheShape shape_;
  std::vector<Link> links_;
  std::uint32_t end_;
  std::uint64_t now_ = 0;  // visits so far
};

}  // namespace sluice

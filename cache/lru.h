#pragma once
// Least recently used, for comparison: layers come round in a cycle, and a cycle larger than the
// cache empties it of everything that was about to be used again.

#include "cache/cache_policy.h"
#include "cache/key_rings.h"

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
  void use(std::uint32_t index);

  CacheShape shape_;
  KeyRings residents_;
  std::vector<std::uint64_t> used_;  // [keys] at which visit
  std::uint64_t now_ = 0;            // visits so far
};

}  // namespace sluice

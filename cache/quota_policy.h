#pragma once
// Every layer has a quota of the residents. The layer that is farthest above its own gives up what
// it used least recently; the layer being visited counts as having one more, which comes in.
//
// Counted in keys, not in bytes. The cache's size is the most that was resident when room was
// needed, so quotas are first made then.

#include <span>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/key_rings.h"

namespace sluice {

class QuotaPolicy : public CachePolicy {
 public:
  void visit(std::uint32_t layer) final;
  void touch(CacheKey key, float score) final;
  void admit(CacheKey key, std::uint64_t bytes) final;
  void forget(CacheKey key) final;
  std::optional<CacheKey> victim(const Evictable& evictable) final;
  double distance(CacheKey key) const final;

 protected:
  explicit QuotaPolicy(const CacheShape& shape);

  /// Fills in `quotas`, [layers], for a cache of `slots`; all of them add up to no more.
  virtual void share_out(std::uint32_t slots, std::span<std::uint32_t> quotas) = 0;
  /// The layer wants the key of this number.
  virtual void on_touch(std::uint32_t, std::uint32_t) {}

  const CacheShape& shape() const { return shape_; }

 private:
  void use(std::uint32_t layer, std::uint32_t index);
  void plan();

  CacheShape shape_;
  KeyRings residents_;                 // a ring a layer
  std::vector<std::uint64_t> used_;    // [keys] at which visit
  std::vector<std::uint32_t> quotas_;  // [layers]
  std::uint32_t resident_ = 0;         // keys
  std::uint32_t slots_ = 0;            // that quotas_ are for
  std::uint32_t current_ = 0;          // layer of the last visit
  std::uint64_t now_ = 0;              // visits so far
  std::uint64_t cycles_ = 0;           // through all layers so far
  std::uint64_t next_plan_ = 0;        // at which cycle
};

}  // namespace sluice

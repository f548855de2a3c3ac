#pragma once
// Adaptive replacement: one list of what was wanted once lately and one of what was wanted more
// often, and a boundary between them that moves towards the list whose leavers were missed.
//
// N. Megiddo and D. S. Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003.
// Counted in keys, not in bytes; the cache's size is what is resident when something leaves.

#include "cache/cache_policy.h"
#include "cache/key_rings.h"

namespace sluice {

class Arc final : public CachePolicy {
 public:
  explicit Arc(const CacheShape& shape);

  std::string_view name() const override { return "arc"; }
  void visit(std::uint32_t) override { now_ += 1; }
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  // The paper's T1, T2, B1 and B2: residents wanted once and more often, and who left either.
  enum Ring : std::uint32_t { kOnce, kOften, kLeftOnce, kLeftOften, kRings };

  bool is_resident(std::uint32_t index) const { return lists_.ring_of(index) <= kOften; }
  /// The list that has more than its share.
  Ring giving() const { return lists_.size(kOnce) > once_share_ ? kOnce : kOften; }
  void use(Ring ring, std::uint32_t index);

  CacheShape shape_;
  KeyRings lists_;
  std::vector<std::uint64_t> used_;  // [keys] at which visit
  double once_share_ = 0;            // the paper's p: how many keys kOnce may have
  std::uint64_t now_ = 0;            // visits so far
};

}  // namespace sluice

#pragma once
// Least frequent recently used: the half of the residents that was used last is safe; of the others
// goes what was used least while it was resident.
//
// M. Bilal and S.-G. Kang, "A cache management scheme for efficient content eviction and
// replication in cache networks", IEEE Access 5, 2017.

#include <set>
#include <tuple>

#include "cache/cache_policy.h"
#include "cache/key_rings.h"

namespace sluice {

class Lfru final : public CachePolicy {
 public:
  explicit Lfru(const CacheShape& shape);

  std::string_view name() const override { return "lfru"; }
  void visit(std::uint32_t) override { now_ += 1; }
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  using Rank = std::tuple<std::uint32_t, std::uint64_t, std::uint32_t>;  // uses, last visit, key

  bool is_resident(std::uint32_t index) const;
  Rank rank(std::uint32_t index) const { return {uses_[index], used_[index], index}; }
  void use(std::uint32_t index);

  CacheShape shape_;
  KeyRings safe_;
  std::set<Rank> others_;
  std::vector<std::uint32_t> uses_;  // [keys], since it is resident
  std::vector<std::uint64_t> used_;  // [keys] at which visit
  std::uint64_t now_ = 0;            // visits so far
};

}  // namespace sluice

#pragma once
// The policy that wins on measurements, found while running. Each candidate has a ghost that shows
// what it would hold and miss; where a ghost has missed less than that of the candidate in charge,
// by more than chance explains, its candidate takes over. All of them follow what really is
// resident, so that any can begin at once. The first, "learned", which measured best on recorded
// traces, is in charge at the start.
//
// Two ghosts are compared by what one of them has and the other misses, old differences fading: a
// lead of three times the square root of their number (a sign test) is no accident. So a change
// costs what it takes to be sure of it, and nobody is put in charge for a streak of luck.

#include <memory>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/ghost_cache.h"

namespace sluice {

class AutoPolicy final : public CachePolicy {
 public:
  explicit AutoPolicy(const CacheShape& shape);

  std::string_view name() const override { return "auto"; }
  /// The name of the candidate in charge.
  std::string_view in_charge() const { return candidates_[chosen_].policy->name(); }

  void visit(std::uint32_t layer) override;
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  void expect(CacheKey key, float probability) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  struct Candidate {
    std::unique_ptr<CachePolicy> policy;
    std::unique_ptr<GhostCache> ghost;
    // Wants that its ghost met and that of the candidate in charge did not, and the reverse.
    double better = 0, worse = 0;
  };

  void close_visit();
  void compare();
  void choose();

  CacheShape shape_;
  std::vector<Candidate> candidates_;
  std::size_t chosen_ = 0;
  std::vector<CacheKey> wanted_;      // by the visit
  std::vector<std::uint64_t> sizes_;  // [keys] bytes, once it was resident; else 0
  std::uint64_t resident_bytes_ = 0;
  std::uint64_t capacity_ = 0;  // bytes; unknown, 0, until room is needed for the first time
  std::uint32_t current_ = 0;   // layer of the last visit
};

}  // namespace sluice

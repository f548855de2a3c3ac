#pragma once
// Belady's rule: give up what is needed farthest in the future. The bound that online policies are
// measured against, for it has to know the trace that it will see.
//
// L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems
// Journal 5(2), 1966. With experts of one size nothing can miss less often; with several sizes a
// better choice may exist, but not by much.

#include <set>
#include <utility>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/routing_trace.h"

namespace sluice {

/// REQUIRES: it is shown exactly `trace`, from its first event on. O(log keys) a touch.
class Belady final : public CachePolicy {
 public:
  Belady(const CacheShape& shape, const RoutingTrace& trace);

  std::string_view name() const override { return "belady"; }
  void visit(std::uint32_t layer) override;
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  static constexpr std::uint32_t kNever = ~std::uint32_t{0};

  CacheShape shape_;
  std::vector<std::uint32_t> following_;  // [touches of the trace] event of the same key's next
  std::size_t touches_ = 0;               // so far
  std::uint32_t visits_ = 0;              // so far
  std::vector<std::uint32_t> next_;       // [keys] event that wants it next, or kNever
  std::set<std::pair<std::uint32_t, std::uint32_t>> resident_;  // (next event, key)
};

}  // namespace sluice

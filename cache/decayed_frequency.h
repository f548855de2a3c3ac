#pragma once
// The default policy: give up the expert whose next use is expected to be farthest away.
//
// For every expert, resident or not, it keeps the exponentially decayed share of its layer's visits
// that wanted it, so a newcomer brings its history and a scan (a prefill that wants everything)
// raises all alike and disturbs nothing. An expert wanted in a share f of visits is next wanted, in
// expectation, after 1/f of its layer's turns, the first of which is d of a cycle away; the victim
// is the one with the largest 1/f + d. Among experts used alike that is the layer just left, which
// is the last to come again: on a plain cycle the policy does what the best one, which knows the
// future, would do.
//
// A layer's shares change only when the layer is visited, so each layer's coldest resident is
// remembered in between: a victim costs O(layers + experts of a layer).

#include "cache/cache_policy.h"

namespace sluice {

class DecayedFrequency final : public CachePolicy {
 public:
  static constexpr double kNeverForgets = 0;
  static constexpr double kHalfLife =
      48;  // visits of a layer; tuned on recorded traces, flat around its best

  /// `half_life`: visits of a layer after which a use counts half; kNeverForgets makes it LFU.
  explicit DecayedFrequency(const CacheShape& shape, double half_life = kHalfLife);

  std::string_view name() const override { return decay_ < 1 ? "decayed" : "lfu"; }
  void visit(std::uint32_t layer) override;
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;

 private:
  struct Layer {
    double visits =
        0;  // decayed as the uses are, so uses / visits is a share from the first visit on
    std::uint32_t coldest = 0;  // index; valid while `known`
    bool known = false;
  };
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  std::uint32_t coldest(std::uint32_t layer, const Evictable& evictable);
  double turns_until_use(std::uint32_t layer, std::uint32_t index) const;

  CacheShape shape_;
  float decay_;
  std::uint32_t current_ = 0;  // layer of the last visit
  std::vector<Layer> layers_;
  std::vector<float> uses_;             // [keys], decayed
  std::vector<std::uint8_t> resident_;  // [keys]
};

}  // namespace sluice

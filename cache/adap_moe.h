#pragma once
// AdapMoE's allocation: as many slots for each layer as make the expected misses of all layers
// fewest, by dynamic programming over the layers. In a layer goes what was used least recently, so
// how often n slots hit is known for every n at once: as often as an expert was wanted of which
// fewer than n others were more recent (Mattson's stack distances), counted while the model runs.
//
// S. Zhong et al., "AdapMoE: adaptive sensitivity-based expert gating and management for efficient
// MoE inference", ICCAD 2024, arXiv:2408.10284. R. L. Mattson et al., "Evaluation techniques for
// storage hierarchies", IBM Systems Journal 9(2), 1970.

#include "cache/quota_policy.h"

namespace sluice {

class AdapMoe final : public QuotaPolicy {
 public:
  explicit AdapMoe(const CacheShape& shape);
  std::string_view name() const override { return "adapmoe"; }

 protected:
  void on_touch(std::uint32_t layer, std::uint32_t index) override;
  void share_out(std::uint32_t slots, std::span<std::uint32_t> quotas) override;

 private:
  std::vector<std::uint32_t> order_;  // [keys] of each layer, the most recently wanted first
  std::vector<float> hits_;           // [keys] of each layer, at which place in its order; fading
};

/// How many of `units` each layer gets so that the sum of the gains is largest. `gains`: of each
/// layer what 0, 1, 2 … units bring it; one that ends early can have no more.
std::vector<std::uint32_t> allocate_best(const std::vector<std::vector<float>>& gains,
                                         std::uint32_t units);

}  // namespace sluice

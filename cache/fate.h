#pragma once
// Fate's shallow-favouring cache: the earlier a layer, the larger its share, for what is foretold
// of the first layers is foretold late and least well. In a layer goes what was used least recently
// (the paper has ARC there). The first layer has twice the share of the last one.
//
// Z. Fang et al., "Fate: fast edge inference of mixture-of-experts models via cross-layer gate",
// 2025, arXiv:2502.12224.

#include "cache/quota_policy.h"

namespace sluice {

class Fate final : public QuotaPolicy {
 public:
  explicit Fate(const CacheShape& shape) : QuotaPolicy(shape) {}
  std::string_view name() const override { return "fate"; }

 protected:
  void share_out(std::uint32_t slots, std::span<std::uint32_t> quotas) override;
};

}  // namespace sluice

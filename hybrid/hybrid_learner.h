#pragma once
// Costs that follow the machine: every layer's timings say how well they foretold it.

#include <span>
#include <vector>

#include "hybrid/layer_plan.h"

namespace sluice {

/// Not thread-safe.
class HybridLearner {
 public:
  explicit HybridLearner(const HybridCosts& calibrated) : costs_(calibrated) {}

  const HybridCosts& costs() const { return costs_; }

  /// What a layer took, as its devices' clocks tell: how long each was at work, waits for experts
  /// that had not come left out. 0: that one was not used.
  struct Timing {
    double cpu = 0, gpu = 0, link = 0;
    double staging = 0;  // the CPU's, beside `cpu`
  };
  void observe(std::span<const ExpertWork> work, const LayerPlan& plan, const Timing& measured);

 private:
  HybridCosts costs_;
  std::vector<CostCurve::Part> parts_;
};

}  // namespace sluice

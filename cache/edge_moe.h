#pragma once
// EdgeMoE's order: give up first what is used seldom and belongs to a layer whose turn is far away;
// the layer just left is the last to come again.
//
// R. Yi et al., "EdgeMoE: fast on-device inference of MoE-based large language models", 2023.

#include "cache/worth_model.h"

namespace sluice {

class EdgeMoe final : public WorthModel {
 public:
  explicit EdgeMoe(const CacheShape& shape)
      : WorthModel(shape), visits_(shape.layers()), uses_(shape.size()) {}
  std::string_view name() const override { return "edgemoe"; }
  void visit(std::uint32_t layer) override { visits_[layer] += 1; }
  void touch(std::uint32_t, std::uint32_t index, float) override { uses_[index] += 1; }
  float worth(std::uint32_t layer, std::uint32_t index) const override {
    return (static_cast<float>(uses_[index]) + kPrior) /
           (static_cast<float>(visits_[layer]) + kPrior);
  }
  float distance_of(float worth, float ahead) const override { return ahead / worth; }

 private:
  static constexpr float kPrior = 0.5f;  // what was never used is not infinitely far
  std::vector<std::uint32_t> visits_;    // [layers]
  std::vector<std::uint32_t> uses_;      // [keys]
};

}  // namespace sluice

#pragma once
// HybriMoE's "minus recent score": an expert's score is a running mean of the router's probability
// for it over its layer's visits, S <- a * p + (1 - a) * S, and the lowest goes. Experts that
// nearly won would count, too; here only those that are wanted are known, so the others' p is 0.
//
// S. Zhong et al., "HybriMoE: hybrid CPU-GPU scheduling and cache management for efficient MoE
// inference", 2025.

#include "cache/worth_model.h"

namespace sluice {

class Mrs final : public WorthModel {
 public:
  explicit Mrs(const CacheShape& shape) : WorthModel(shape), scores_(shape.size()) {}
  std::string_view name() const override { return "mrs"; }
  void visit(std::uint32_t layer) override {
    for (std::uint32_t i = shape().first(layer); i < shape().first(layer + 1); ++i) {
      scores_[i] *= 1 - kNewest;
    }
  }
  void touch(std::uint32_t, std::uint32_t index, float score) override {
    scores_[index] += kNewest * score;
  }
  float worth(std::uint32_t, std::uint32_t index) const override { return scores_[index]; }
  float distance_of(float worth, float) const override { return 1 / (worth + kLeast); }

 private:
  static constexpr float kNewest = 0.5f;   // the paper's alpha
  static constexpr float kLeast = 1e-12f;  // keeps the reciprocal finite
  std::vector<float> scores_;              // [keys]
};

}  // namespace sluice

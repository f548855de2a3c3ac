#pragma once
// Predictors that know no weights and count what routers chose. They cost next to nothing, work
// for any look-ahead, and are what a gate that multiplies matrices has to be better than.

#include <vector>

#include "experts/gate_predictor.h"

namespace sluice {

/// What the layer chose most often of late, whatever the token.
class PopularityGate final : public GatePredictor {
 public:
  explicit PopularityGate(const GateShape& shape);
  std::string_view name() const override { return "popularity"; }
  bool predict(const GateEvidence& evidence, std::uint32_t target) override;
  void rank(std::size_t row, std::span<std::uint32_t> likely) override;
  void learn(const GateEvidence& evidence) override;
  /// Of the layer's visits the share that chose the expert; recent ones weigh more.
  std::span<const float> uses(std::uint32_t layer) const;

 private:
  const GateShape shape_;
  std::vector<float> uses_;  // [layers, experts]
  std::uint32_t target_ = 0;
};

/// What the layer chose for the token before: the last row that it saw. Then what is popular.
class LastChoiceGate final : public GatePredictor {
 public:
  explicit LastChoiceGate(const GateShape& shape);
  std::string_view name() const override { return "last token"; }
  bool predict(const GateEvidence& evidence, std::uint32_t target) override;
  void rank(std::size_t row, std::span<std::uint32_t> likely) override;
  void learn(const GateEvidence& evidence) override;

 private:
  const GateShape shape_;
  PopularityGate popularity_;
  std::vector<std::uint32_t> last_;  // [layers, top_k]
  std::vector<bool> seen_;           // [layers]
  std::vector<float> scores_;        // [experts]
};

/// How often an expert was chosen together with those that an earlier layer has chosen for the same
/// token (ExFlow, 2024), learned as it goes.
class AffinityGate final : public GatePredictor {
 public:
  /// From the layer `ahead` before the target.
  AffinityGate(const GateShape& shape, std::uint32_t ahead);
  static std::uint64_t bytes(const GateShape& shape) {
    return std::uint64_t{shape.layers} * shape.experts * (shape.experts + 1) * sizeof(float);
  }
  std::string_view name() const override { return "affinity"; }
  bool predict(const GateEvidence& evidence, std::uint32_t target) override;
  void rank(std::size_t row, std::span<std::uint32_t> likely) override;
  void learn(const GateEvidence& evidence) override;

 private:
  /// [experts]: how often each was chosen in `target` where `before` was in the layer before it.
  float* together(std::uint32_t target, std::uint32_t before) {
    return together_.data() + (std::size_t{target} * shape_.experts + before) * shape_.experts;
  }

  const GateShape shape_;
  const std::uint32_t ahead_;
  PopularityGate popularity_;
  std::vector<float> together_;                     // [layers, experts before, experts]
  std::vector<float> times_;                        // [layers, experts before]
  std::vector<std::vector<std::uint32_t>> chosen_;  // [layers] of [rows, top_k], of this pass
  const std::uint32_t* evidence_ = nullptr;         // what `rank` goes by
  std::uint32_t target_ = 0;
  std::vector<float> scores_;  // [experts]
};

}  // namespace sluice

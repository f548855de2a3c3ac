#pragma once
// Predictors that ask a layer's own router early, about what is known of its input by then.
// Neighbouring layers' inputs are alike, since a residual changes slowly: across layers the next
// routers read what this layer's router reads (Fate, 2025); before attention a router reads the
// residual that its layer begins with, normalised as the router's input will be, and misses nothing
// but what attention adds (Pre-gated MoE, 2024). A correction, fitted to a text, stands in for the
// router's matrix.

#include <vector>

#include "base/compute.h"
#include "experts/gate_predictor.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/router.h"
#include "layers/routing_observer.h"

namespace sluice {

/// Memory that gates share: only the one that predicted last may rank.
struct GateMemory {
  float* scores = nullptr;  // [rows, experts]
  float* input = nullptr;   // [rows, hidden]
};

/// From which numbers a router is asked early.
enum class GateInput : std::uint8_t { kLayerInput, kRouterInput };

/// What stands in for a router: a matrix fitted to give its outputs from an earlier input, or fewer
/// bits of its own.
struct GateCorrection {
  WeightMatrix matrix;          // [experts, hidden]
  const float* bias = nullptr;  // [experts] or null
  bool present() const { return matrix.format != nullptr; }
};

class RouterGate final : public GatePredictor {
 public:
  /// Of the router `ahead` routers away: 1 is the next one to be asked. All are borrowed.
  RouterGate(const ModelDescription& model, const std::vector<LayerWeights>& weights,
             Compute& compute, const GateMemory& memory, GateInput input, std::uint32_t ahead);

  std::string_view name() const override;
  bool predict(const GateEvidence& evidence, std::uint32_t target) override;
  void rank(std::size_t row, std::span<std::uint32_t> likely) override;
  void learn(const GateEvidence&) override {}

  /// What the last `predict` that returned true has multiplied: `[rows, hidden]`. May lie in the
  /// shared memory.
  const float* inputs() const { return inputs_; }
  /// The router's outputs as predicted, `[rows, experts]`.
  const float* outputs() const { return memory_.scores; }
  void correct(std::uint32_t target, const GateCorrection& correction) {
    corrections_[target] = correction;
  }
  /// Where matrices are quantised, so many rows as `coded` has are multiplied in their 8-bit form,
  /// which is made there. Borrowed.
  void multiply_coded(const Activations& coded) { coded_ = coded; }
  GateInput input() const { return input_; }
  std::uint32_t ahead() const { return ahead_; }

 private:
  bool speaks(const GateEvidence& evidence, std::uint32_t target) const;
  const float* prepare(const GateEvidence& evidence, std::uint32_t target);

  const ModelDescription& model_;
  const std::vector<LayerWeights>& weights_;
  Compute& compute_;
  const GateMemory memory_;
  const GateInput input_;
  const std::uint32_t ahead_;
  std::vector<GateCorrection> corrections_;  // [layers]
  Activations coded_;
  Router router_;
  std::uint32_t target_ = 0;
  const float* inputs_ = nullptr;
  std::vector<float> scores_;          // [experts]
  std::vector<std::uint32_t> chosen_;  // [top_k]
  std::vector<float> chosen_weights_;  // [top_k]
};

inline GateEvidence evidence_of(const Routing& routing) {
  return {.layer = routing.layer,
          .rows = routing.rows,
          .router_input = routing.input,
          .chosen = routing.ids};
}

}  // namespace sluice

#pragma once
// Fits corrections of router gates while a model reads a text: for each layer the matrix that gives
// its router's outputs from what the gate sees earlier, by least squares, drawn towards the
// router's own matrix where the text says little (ridge regression on the difference).

#include <memory>
#include <vector>

#include "gates/fitted_gate.h"
#include "gates/router_gate.h"
#include "layers/routing_observer.h"

namespace sluice {

/// Sees passes; then `solve`.
class GateFit final : public RoutingObserver {
 public:
  /// Gates that foretell routers so far ahead from that input. All are borrowed.
  GateFit(const ModelDescription& model, const std::vector<LayerWeights>& weights, Compute& compute,
          const GateMemory& memory, GateInput input, std::uint32_t ahead);
  ~GateFit() override;
  /// A layer whose router is to be foretold.
  void add(std::uint32_t layer);
  /// Bytes that it holds for a layer, with passes of so many rows.
  static std::uint64_t layer_bytes(const ModelDescription& model, std::size_t rows);
  /// What solving takes for a while, besides what it gives.
  static std::uint64_t solving_bytes(const ModelDescription& model);

  void entering(std::uint32_t layer, std::size_t rows, const float* layer_input) override;
  void routed(const Routing& routing) override;
  /// One for each layer of which a text was seen.
  std::vector<FittedGate> solve() const;

 private:
  struct Sums;
  void foretell(const GateEvidence& evidence, std::uint32_t target);
  void compare(const GateEvidence& evidence);

  const ModelDescription& model_;
  const std::vector<LayerWeights>& weights_;
  Compute& compute_;
  const GateMemory memory_;
  RouterGate gate_;
  std::vector<std::unique_ptr<Sums>> sums_;  // [layers]
};

}  // namespace sluice

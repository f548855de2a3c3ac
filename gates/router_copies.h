#pragma once
// The routers once more, in 8 bits, for the gates that ask them early: what is only foretold needs
// no more, and to ask the float32 routers themselves, three more for every layer, cost a decode
// step a twentieth.

#include <vector>

#include "base/aligned_buffer.h"
#include "gates/router_gate.h"

namespace sluice {

class RouterCopies {
 public:
  /// What `make` allocates.
  static std::uint64_t bytes(const ModelDescription& model);
  /// In the order that the device multiplies fastest.
  static Result<RouterCopies> make(const ModelDescription& model,
                                   const std::vector<LayerWeights>& weights, Compute& compute);

  RouterCopies() = default;
  /// The gate asks the copies from now on, with the routers' own biases. Borrowed. Where there is
  /// none, it asks the router as before.
  void apply(RouterGate& gate) const;

 private:
  AlignedBuffer memory_;                // Q8_0, layer by layer, and before them:
  Activations coded_;                   // of few rows
  std::vector<GateCorrection> copies_;  // [layers]
};

}  // namespace sluice

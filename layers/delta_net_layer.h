#pragma once
// The gated delta net that some layers have instead of attention (Yang et al. 2024): its past is
// one matrix a head and the last inputs of a short convolution. formats/settings.cc has the
// formulas.

#include <cstdint>
#include <span>

#include "base/operations.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/row.h"
#include "layers/scratch.h"

namespace sluice {

class DeltaNetLayer {
 public:
  DeltaNetLayer(const ModelDescription& model, Operations& operations, Scratch& scratch)
      : model_(model), operations_(operations), scratch_(scratch) {}

  /// scratch.block_output[r] from scratch.normed[r]; the sequences' states move on.
  void run(std::uint32_t layer, const DeltaNetWeights& weights, std::span<const Row> rows);

 private:
  const ModelDescription& model_;
  Operations& operations_;
  Scratch& scratch_;
};

}  // namespace sluice

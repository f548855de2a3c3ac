#pragma once
// All of a layer but its routed experts, on one processor: norms, attention or a delta net,
// networks that every row goes through, and the router's scores.
//
//     attend(layer, rows)    the residual, and what attention adds to it
//     feed(layer, n)         what the experts read, and the network beside them
//     score(layer, n)        what the router says of each expert
//     share(layer, n)        the shared expert, at any time after `feed`
//     close(layer, n)        the residual, and what networks add to it; the routed experts' sum is
//     in
//                            scratch.block_output by then

#include <cstdint>
#include <span>

#include "base/operations.h"
#include "layers/attention_layer.h"
#include "layers/delta_net_layer.h"
#include "layers/dense_weights.h"
#include "layers/model_description.h"
#include "layers/row.h"
#include "layers/scratch.h"

namespace sluice {

/// Borrows all that it is made with. Weights and scratch are the processor's.
class DensePart {
 public:
  DensePart(const ModelDescription& model, const DenseWeights& weights, Operations& operations,
            Scratch& scratch, KvType kv_type);

  /// REQUIRES: scratch has the rows' positions, cosines and sines.
  void attend(std::uint32_t layer, std::span<const Row> rows);
  void feed(std::uint32_t layer, std::size_t rows);
  void score(std::uint32_t layer, std::size_t rows);
  void share(std::uint32_t layer, std::size_t rows);
  void close(std::uint32_t layer, std::size_t rows);

  /// scratch.normed: the residual of rows [0, rows) as the head reads it.
  void end(std::size_t rows);
  /// scratch.logits: of the `count` rows in scratch.logit_rows. REQUIRES: `end` was called.
  void logits(std::size_t count);

 private:
  void norm(const NormWeights& weights, const float* x, float* out, std::size_t rows);
  void norm_input(const NormWeights& weights, std::size_t rows);
  void norm_output(const NormWeights& weights, float* values, std::size_t rows);
  void ffn(const FfnWeights& weights, float* output, std::size_t rows);
  void add(float* out, const float* x, float factor, std::size_t rows);
  void add_shared(const LayerWeights& weights, std::size_t rows);

  const ModelDescription& model_;
  const DenseWeights& weights_;
  Operations& operations_;
  Scratch& scratch_;
  AttentionLayer attention_;
  DeltaNetLayer delta_net_;
};

}  // namespace sluice

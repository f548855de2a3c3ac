#pragma once
// The attention of one layer: queries, keys and values of the pass's rows, what is kept of them,
// and what the heads make of all that their rows see.
//
// Latent attention (MLA, Liu et al. 2024, arXiv 2405.04434) is computed in its absorbed form, in
// prefill as in decode: a head's query is brought into the latent's space instead of every latent
// into a head's key, and what the head gives is brought out of it. To the processor it is one
// key/value head.

#include <cstdint>
#include <span>

#include "base/operations.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/row.h"
#include "layers/scratch.h"

namespace sluice {

class AttentionLayer {
 public:
  AttentionLayer(const ModelDescription& model, Operations& operations, Scratch& scratch,
                 KvType kv_type)
      : model_(model), operations_(operations), scratch_(scratch), kv_type_(kv_type) {}

  /// scratch.block_output[r] = attention of scratch.normed[r]. Stores keys and values. REQUIRES:
  /// scratch has the rows' cosines and sines.
  void run(std::uint32_t layer, const AttentionWeights& weights, std::span<const Row> rows);

 private:
  void project(const AttentionDescription& shape, const AttentionWeights& weights,
               std::size_t rows);
  void split_gates(const AttentionDescription& shape, std::size_t rows);
  void norm_and_turn(const AttentionDescription& shape, const AttentionWeights& weights,
                     std::size_t rows);
  void heat(const AttentionDescription& shape, std::size_t rows);
  void map(MapOp op, float* out, std::size_t out_stride, const float* x, std::size_t x_stride,
           std::size_t rows, std::size_t columns);
  void change(MapOp op, float* values, float factor, std::size_t rows, std::size_t columns);
  void norm(float* values, std::size_t stride, const float* weight, float epsilon,
            std::size_t columns, std::size_t vectors);
  void norm_heads(float* values, const float* weight, std::size_t columns, std::size_t vectors);
  void turn(const AttentionDescription& shape, float* x, std::size_t rows, std::size_t heads,
            std::size_t head_dim);
  void project_latent(const AttentionDescription& shape, const AttentionWeights& weights,
                      std::size_t rows);
  void values_of_latents(const AttentionDescription& shape, const WeightMatrix& value,
                         std::size_t rows);
  void multiply_heads(const WeightMatrix& heads_matrix, const Activations& input, std::size_t heads,
                      std::size_t rows, float* output, std::size_t head_stride);

  const ModelDescription& model_;
  Operations& operations_;
  Scratch& scratch_;
  KvType kv_type_;
  std::vector<MatmulTask> tasks_;  // of all heads
};

}  // namespace sluice

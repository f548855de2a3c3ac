#include "layers/delta_net_layer.h"

#include <array>

#include "layers/tasks.h"

namespace sluice {

void DeltaNetLayer::run(std::uint32_t layer, const DeltaNetWeights& weights,
                        std::span<const Row> rows) {
  const DeltaNetShape& shape = model_.delta_net;
  const std::size_t n = rows.size();
  // How much of the past is kept is decided by few numbers: in float32, as a router's.
  const Activations exact = in_float32(scratch_.normed);
  const std::array inputs{product(weights.qkv, scratch_.normed, n, scratch_.projected),
                          product(weights.gate, scratch_.normed, n, scratch_.gate),
                          product(weights.alpha, exact, n, scratch_.alpha),
                          product(weights.beta, exact, n, scratch_.beta)};
  operations_.matmul(inputs);
  for (std::size_t row = 0; row < n; ++row) {
    scratch_.states[row] = rows[row].sequence->state(layer);
  }
  const Activations gated =
      narrowed(scratch_.attended, std::size_t{shape.value_heads} * shape.value_dim);
  operations_.delta_net({.shape = shape,
                         .rows = n,
                         .states = scratch_.states.data(),
                         .qkv = scratch_.projected,
                         .conv_weight = weights.convolution,
                         .alpha = scratch_.alpha,
                         .beta = scratch_.beta,
                         .a = weights.a,
                         .dt_bias = weights.dt_bias,
                         .gate = scratch_.gate,
                         .norm_weight = weights.norm,
                         .norm_epsilon = model_.norm_epsilon,
                         .out = gated.values});
  operations_.quantise(gated, n);
  const MatmulTask output = product(weights.output, gated, n, scratch_.block_output);
  operations_.matmul({&output, 1});
}

}  // namespace sluice

#include "engine/delta_net_layer.h"

#include <array>

namespace sluice {

void DeltaNetLayer::run(std::uint32_t layer, const DeltaNetWeights& weights,
                        std::span<const Row> rows) {
  const DeltaNetShape& shape = model_.delta_net;
  const std::size_t n = rows.size();
  const auto task = [&](const WeightMatrix& weight, const Activations& input, float* output) {
    return MatmulTask{.weight = weight,
                      .input = input,
                      .n_rows = n,
                      .output = output,
                      .output_stride = weight.rows};
  };
  // How much of the past is kept is decided by few numbers: in float32, as a router's.
  Activations exact = scratch_.normed;
  exact.codes = nullptr;
  const std::array inputs{task(weights.qkv, scratch_.normed, scratch_.projected),
                          task(weights.gate, scratch_.normed, scratch_.gate),
                          task(weights.alpha, exact, scratch_.alpha),
                          task(weights.beta, exact, scratch_.beta)};
  compute_.matmul(inputs);
  for (std::size_t row = 0; row < n; ++row) {
    scratch_.states[row] = rows[row].sequence->state(layer);
  }
  const Activations gated =
      narrowed(scratch_.attended, std::size_t{shape.value_heads} * shape.value_dim);
  compute_.delta_net({.shape = shape,
                      .rows = n,
                      .states = scratch_.states,
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
  compute_.quantise(gated, n);
  const MatmulTask output = task(weights.output, gated, scratch_.block_output);
  compute_.matmul({&output, 1});
}

}  // namespace sluice

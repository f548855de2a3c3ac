#include "layers/dense_part.h"

#include "layers/tasks.h"

namespace sluice {

DensePart::DensePart(const ModelDescription& model, const DenseWeights& weights,
                     Operations& operations, Scratch& scratch, KvType kv_type)
    : model_(model),
      weights_(weights),
      operations_(operations),
      scratch_(scratch),
      attention_(model, operations, scratch, kv_type),
      delta_net_(model, operations, scratch) {}

void DensePart::attend(std::uint32_t layer, std::span<const Row> rows) {
  const LayerWeights& weights = weights_.layers()[layer];
  const std::size_t n = rows.size();
  norm_input(weights.attention_norm, n);
  if (model_.layers[layer].recurrent) {
    delta_net_.run(layer, weights.delta_net, rows);
  } else {
    attention_.run(layer, weights.attention, rows);
  }
  norm_output(weights.post_attention_norm, scratch_.block_output, n);
  add(scratch_.residual, scratch_.block_output, model_.residual_scale, n);
}

void DensePart::feed(std::uint32_t layer, std::size_t rows) {
  const LayerDescription& description = model_.layers[layer];
  const LayerWeights& weights = weights_.layers()[layer];
  norm_input(weights.ffn_norm, rows);
  if (description.dense_ffn != 0) {
    float* const output = description.sparse ? scratch_.dense_output : scratch_.block_output;
    ffn(weights.dense, output, rows);
    norm_output(weights.post_dense_norm, output, rows);
  }
  if (weights.pre_experts_norm.present()) norm_input(weights.pre_experts_norm, rows);
}

void DensePart::score(std::uint32_t layer, std::size_t rows) {
  const LayerWeights& weights = weights_.layers()[layer];
  if (model_.router.input == RouterInput::kOwnNorm) {
    make_router_input(model_, weights, operations_, scratch_.residual, rows,
                      scratch_.router_input.values);
  }
  // The router decides what is read from disk: its scores are float32 even where the rest of the
  // layer is 8-bit.
  const MatmulTask scores =
      product(weights.router.matrix, in_float32(scratch_.read_by_router(model_)), rows,
              scratch_.scores, weights.router.bias);
  operations_.matmul({&scores, 1});
}

void DensePart::share(std::uint32_t layer, std::size_t rows) {
  const LayerWeights& weights = weights_.layers()[layer];
  if (!weights.shared.present()) return;
  ffn(weights.shared, scratch_.shared_output, rows);
  if (weights.shared_gate.format == nullptr) return;
  const MatmulTask gate =
      product(weights.shared_gate, in_float32(scratch_.normed), rows, scratch_.shared_weight);
  operations_.matmul({&gate, 1});
}

void DensePart::close(std::uint32_t layer, std::size_t rows) {
  const LayerDescription& description = model_.layers[layer];
  const LayerWeights& weights = weights_.layers()[layer];
  if (description.sparse) {
    add_shared(weights, rows);
    norm_output(weights.post_experts_norm, scratch_.block_output, rows);
    if (description.dense_ffn != 0) add(scratch_.block_output, scratch_.dense_output, 1, rows);
  }
  norm_output(weights.post_ffn_norm, scratch_.block_output, rows);
  add(scratch_.residual, scratch_.block_output, model_.residual_scale, rows);
  if (weights.output_scale == nullptr) return;
  operations_.map({.op = MapOp::kScale,
                   .out = scratch_.residual,
                   .out_stride = model_.hidden,
                   .factor = *weights.output_scale,
                   .rows = rows,
                   .columns = model_.hidden});
}

void DensePart::add_shared(const LayerWeights& weights, std::size_t rows) {
  if (!weights.shared.present()) return;
  const bool gated = weights.shared_gate.format != nullptr;
  operations_.map({.op = gated ? MapOp::kAddGated : MapOp::kAdd,
                   .out = scratch_.block_output,
                   .out_stride = model_.hidden,
                   .x = scratch_.shared_output,
                   .x_stride = model_.hidden,
                   .gates = gated ? scratch_.shared_weight : nullptr,
                   .rows = rows,
                   .columns = model_.hidden});
}

void DensePart::end(std::size_t rows) { norm_input(weights_.output_norm(), rows); }

void DensePart::logits(std::size_t count) {
  MatmulTask head =
      product(weights_.head(), scratch_.normed, count, scratch_.logits, weights_.head_bias());
  head.row_index = scratch_.logit_rows;
  operations_.matmul({&head, 1});
}

void DensePart::ffn(const FfnWeights& weights, float* output, std::size_t rows) {
  const FfnTask task = network_task(model_, weights, scratch_, rows, output);
  operations_.ffn({&task, 1});
}

void DensePart::add(float* out, const float* x, float factor, std::size_t rows) {
  operations_.map({.op = MapOp::kAdd,
                   .out = out,
                   .out_stride = model_.hidden,
                   .x = x,
                   .x_stride = model_.hidden,
                   .factor = factor,
                   .rows = rows,
                   .columns = model_.hidden});
}

void DensePart::norm(const NormWeights& weights, const float* x, float* out, std::size_t rows) {
  operations_.norm({.kind = model_.norm_kind,
                    .x = x,
                    .x_stride = model_.hidden,
                    .weight = weights.weight,
                    .bias = weights.bias,
                    .epsilon = model_.norm_epsilon,
                    .out = out,
                    .out_stride = model_.hidden,
                    .rows = rows,
                    .columns = model_.hidden});
}

/// What a part of the layer reads: the residual, normalised.
void DensePart::norm_input(const NormWeights& weights, std::size_t rows) {
  norm(weights, scratch_.residual, scratch_.normed.values, rows);
  operations_.quantise(scratch_.normed, rows);
}

/// What a part of the layer gives, where the model has a norm for it.
void DensePart::norm_output(const NormWeights& weights, float* values, std::size_t rows) {
  if (weights.present()) norm(weights, values, values, rows);
}

}  // namespace sluice

#include "layers/tasks.h"

namespace sluice {

MatmulTask product(const WeightMatrix& weight, const Activations& input, std::size_t rows,
                   float* output, const float* bias) {
  return {.weight = weight,
          .input = input,
          .n_rows = rows,
          .output = output,
          .output_stride = weight.rows,
          .bias = bias};
}

Activations in_float32(const Activations& rows) {
  Activations exact = rows;
  exact.codes = nullptr;
  return exact;
}

FfnTask ffn_task(const ModelDescription& model, const WeightMatrix& gate, const WeightMatrix& up,
                 const WeightMatrix& down) {
  FfnTask task;
  task.gate = gate;
  task.up = up;
  task.down = down;
  task.activation = model.activation;
  task.alpha = model.swiglu_alpha;
  task.limit = model.swiglu_limit;
  return task;
}

FfnTask network_task(const ModelDescription& model, const FfnWeights& weights,
                     const Scratch& scratch, std::size_t rows, float* output) {
  FfnTask task = ffn_task(model, weights.gate, weights.up, weights.down);
  task.input = scratch.normed;
  task.n_rows = rows;
  task.hidden = narrowed(scratch.dense_hidden, weights.gate.rows);
  task.output = output;
  return task;
}

const float* make_router_input(const ModelDescription& model, const LayerWeights& weights,
                               Operations& operations, const float* residual, std::size_t rows,
                               float* out) {
  NormTask norm{.kind = model.norm_kind,
                .x = residual,
                .x_stride = model.hidden,
                .epsilon = model.norm_epsilon,
                .out = out,
                .out_stride = model.hidden,
                .rows = rows,
                .columns = model.hidden};
  switch (model.router.input) {
    case RouterInput::kLayerInput:
      return residual;
    case RouterInput::kFfnNorm: {
      const NormWeights& given =
          weights.pre_experts_norm.present() ? weights.pre_experts_norm : weights.ffn_norm;
      norm.weight = given.weight;
      norm.bias = given.bias;
      operations.norm(norm);
      return out;
    }
    case RouterInput::kOwnNorm:
      break;
  }
  norm.kind = NormKind::kRms;
  norm.weight = weights.router.input_scale;
  operations.norm(norm);
  const float factor = 1.0f / std::sqrt(static_cast<float>(model.hidden));
  operations.map({.op = MapOp::kScale,
                  .out = out,
                  .out_stride = model.hidden,
                  .factor = factor,
                  .rows = rows,
                  .columns = model.hidden});
  return out;
}

}  // namespace sluice

#include "engine/tasks.h"

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

}  // namespace sluice

#pragma once
// What the layers ask of a device, from the weights and the rows that they have.

#include <cstddef>

#include "base/operations.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/scratch.h"

namespace sluice {

/// output `[rows, weight.rows]` = weight · input + bias.
MatmulTask product(const WeightMatrix& weight, const Activations& input, std::size_t rows,
                   float* output, const float* bias = nullptr);

/// The same rows without their 8-bit form: for the few numbers that decide much.
Activations in_float32(const Activations& rows);

/// The matrices and the activation; rows are for the caller to set.
FfnTask ffn_task(const ModelDescription& model, const WeightMatrix& gate, const WeightMatrix& up,
                 const WeightMatrix& down);

/// A network that every row uses: output `[rows, hidden]` from scratch.normed.
FfnTask network_task(const ModelDescription& model, const FfnWeights& weights,
                     const Scratch& scratch, std::size_t rows, float* output);

/// What the router of a layer would read if the residual were these rows `[rows, hidden]`: they
/// themselves, or `out` with what was made of them.
const float* make_router_input(const ModelDescription& model, const LayerWeights& weights,
                               Operations& operations, const float* residual, std::size_t rows,
                               float* out);

}  // namespace sluice

#include "tests/engine/reference_attention.h"

namespace sluice::test {
namespace {

/// A causal convolution of every channel for itself, then SiLU. `taps` is [channels, kernel], the
/// last for the position itself.
Sequence convolve(const Sequence& input, Numbers taps, std::size_t kernel) {
  Sequence output;
  for (std::size_t position = 0; position < input.size(); ++position) {
    Vector out(input[position].size());
    for (std::size_t channel = 0; channel < out.size(); ++channel) {
      for (std::size_t back = 0; back < kernel && back <= position; ++back) {
        out[channel] +=
            double{taps[channel * kernel + kernel - 1 - back]} * input[position - back][channel];
      }
      out[channel] = silu(out[channel]);
    }
    output.push_back(out);
  }
  return output;
}

Vector unit(Vector x) {
  scale(x, 1.0 / std::sqrt(dot(x, x) + 1e-6));
  return x;
}

/// S ← decay S - beta k (kᵀ decay S) + beta k vᵀ; gives Sᵀ q.
Vector recur(std::vector<Vector>& state, const Vector& query, const Vector& key,
             const Vector& value, double decay, double beta) {
  Vector recalled(value.size()), out(value.size());
  for (std::size_t i = 0; i < key.size(); ++i) {
    scale(state[i], decay);
    add_scaled(recalled, key[i], state[i]);
  }
  for (std::size_t i = 0; i < key.size(); ++i) {
    add_scaled(state[i], -beta * key[i], recalled);
    add_scaled(state[i], beta * key[i], value);
    add_scaled(out, query[i], state[i]);
  }
  return out;
}

}  // namespace

Sequence reference_delta_net(const ModelDescription& model, const TensorView& tensors,
                             const Sequence& input) {
  const DeltaNetShape& shape = model.delta_net;
  const std::size_t keys_width = std::size_t{shape.key_heads} * shape.key_dim;
  Sequence mixed;
  for (const Vector& x : input) mixed.push_back(multiply(tensors.at("attn_qkv.weight"), x));
  mixed = convolve(mixed, tensors.at("ssm_conv1d.weight"), shape.kernel);

  std::vector<std::vector<Vector>> states(
      shape.value_heads, std::vector<Vector>(shape.key_dim, Vector(shape.value_dim)));
  Sequence output;
  for (std::size_t position = 0; position < input.size(); ++position) {
    const Vector& x = input[position];
    const Vector alpha = multiply(tensors.at("ssm_alpha.weight"), x, tensors.at("ssm_dt.bias"));
    const Vector beta = multiply(tensors.at("ssm_beta.weight"), x);
    const Vector gate = multiply(tensors.at("attn_gate.weight"), x);
    Vector all;
    for (std::size_t head = 0; head < shape.value_heads; ++head) {
      const std::size_t key_head = shape.value_heads_tiled
                                       ? head % shape.key_heads
                                       : head * shape.key_heads / shape.value_heads;
      const std::size_t first = key_head * shape.key_dim;
      Vector query = unit(slice(mixed[position], first, shape.key_dim));
      scale(query, 1.0 / std::sqrt(static_cast<double>(shape.key_dim)));
      const Vector key = unit(slice(mixed[position], keys_width + first, shape.key_dim));
      const Vector value =
          slice(mixed[position], 2 * keys_width + head * shape.value_dim, shape.value_dim);
      const double softened = std::log1p(std::exp(alpha[head]));
      Vector out = recur(states[head], query, key, value,
                         std::exp(tensors.at("ssm_a")[head] * softened), sigmoid(beta[head]));
      out = rms_norm(out, tensors.at("ssm_norm.weight"), model.norm_epsilon);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] *= silu(gate[head * out.size() + i]);
      all.insert(all.end(), out.begin(), out.end());
    }
    output.push_back(multiply(tensors.at("ssm_out.weight"), all));
  }
  return output;
}

}  // namespace sluice::test

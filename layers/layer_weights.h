#pragma once
// One layer's weights that stay in memory. Vectors are float32 whatever the file has; null, and a
// matrix without a format, where the model has none.

#include "base/operations.h"

namespace sluice {

struct NormWeights {
  const float* weight = nullptr;  // [hidden]
  const float* bias = nullptr;    // [hidden]
  bool present() const { return weight != nullptr; }
};

/// A gated feed-forward network.
struct FfnWeights {
  WeightMatrix gate;  // [ffn, hidden]
  WeightMatrix up;    // [ffn, hidden]
  WeightMatrix down;  // [hidden, ffn]
  bool present() const { return gate.format != nullptr; }
};

/// `rotary` and `plain` are the dimensions of a head's key that turn and that do not, `rank` is the
/// latent's width.
struct LatentWeights {
  WeightMatrix q_a;                // [q_rank, hidden]; then AttentionWeights::q is [.., q_rank]
  const float* q_norm = nullptr;   // [q_rank]
  WeightMatrix kv;                 // [rank + rotary, hidden]
  const float* kv_norm = nullptr;  // [rank]
  WeightMatrix key;                // [heads * rank, plain]: of each head
  WeightMatrix value;              // [heads * value_dim, rank]: of each head
};

struct AttentionWeights {
  WeightMatrix q;       // [query_floats, hidden]
  WeightMatrix k;       // [kv_heads * head_dim, hidden]
  WeightMatrix v;       // [kv_heads * value_dim, hidden]
  WeightMatrix output;  // [hidden, heads * value_dim]
  const float* q_bias = nullptr;
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* output_bias = nullptr;
  const float* q_norm =
      nullptr;  // [head_dim] or [heads * head_dim], as the description's QkNorm says
  const float* k_norm = nullptr;
  const float* sinks = nullptr;  // [heads]
  LatentWeights latent;          // instead of k and v
};

/// See attention.recurrent_layers in formats/settings.cc.
struct DeltaNetWeights {
  WeightMatrix qkv;                    // [channels, hidden]
  WeightMatrix gate;                   // [value_heads * value_dim, hidden]
  WeightMatrix alpha;                  // [value_heads, hidden]
  WeightMatrix beta;                   // [value_heads, hidden]
  WeightMatrix output;                 // [hidden, value_heads * value_dim]
  const float* convolution = nullptr;  // [channels, kernel]
  const float* a = nullptr;            // [value_heads]
  const float* dt_bias = nullptr;      // [value_heads]
  const float* norm = nullptr;         // [value_dim]
};

struct RouterWeights {
  WeightMatrix matrix;                    // [experts, hidden]
  const float* bias = nullptr;            // [experts]
  const float* selection_bias = nullptr;  // [experts]
  const float* input_scale = nullptr;     // [hidden], of RouterInput::kOwnNorm
  const float* expert_scale = nullptr;    // [experts]: of each expert's output
};

/// What the experts have besides the matrices on disk.
struct ExpertBiases {
  const float* gate = nullptr;  // [experts, ffn]
  const float* up = nullptr;    // [experts, ffn]
  const float* down = nullptr;  // [experts, hidden]
};

struct LayerWeights {
  NormWeights attention_norm;
  AttentionWeights attention;
  DeltaNetWeights delta_net;  // instead of it in recurrent layers
  NormWeights post_attention_norm;
  NormWeights ffn_norm;
  FfnWeights dense;
  RouterWeights router;
  ExpertBiases expert_biases;
  FfnWeights shared;
  WeightMatrix shared_gate;  // [1, hidden]; its sigmoid weighs the shared expert
  // Where a dense network stands beside the experts.
  NormWeights post_dense_norm;
  NormWeights pre_experts_norm;
  NormWeights post_experts_norm;
  NormWeights post_ffn_norm;
  const float* output_scale = nullptr;  // [1]: multiplies the residual after the layer
};

}  // namespace sluice

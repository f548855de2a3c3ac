#pragma once
// The weights that stay in memory: everything but the routed experts.

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/status.h"
#include "engine/model_description.h"
#include "formats/checkpoint.h"
#include "io/block_reader.h"

namespace sluice {

/// A gated feed-forward network; `gate.format` null where a layer has none.
struct FfnWeights {
  WeightMatrix gate;  // [ffn, hidden]
  WeightMatrix up;    // [ffn, hidden]
  WeightMatrix down;  // [hidden, ffn]
  bool present() const { return gate.format != nullptr; }
};

/// Vectors are float32 whatever the file has; null where the model has none.
struct LayerWeights {
  const float* attention_norm = nullptr;  // [hidden]
  WeightMatrix q;                         // [heads * head_dim, hidden]
  WeightMatrix k;                         // [kv_heads * head_dim, hidden]
  WeightMatrix v;                         // [kv_heads * value_dim, hidden]
  WeightMatrix output;                    // [hidden, heads * value_dim]
  const float* q_bias = nullptr;
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* output_bias = nullptr;
  const float* q_norm =
      nullptr;  // [head_dim] or [heads * head_dim], as the description's QkNorm says
  const float* k_norm = nullptr;
  const float* ffn_norm = nullptr;  // [hidden]
  WeightMatrix router;              // [experts, hidden]
  FfnWeights ffn;                   // the dense FFN, or the shared expert of a sparse layer
  WeightMatrix shared_gate;         // [1, hidden]; its sigmoid weighs the shared expert
};

/// Immutable after loading and `repack`.
class DenseWeights {
 public:
  /// Bytes that `load` will hold.
  static Result<std::uint64_t> bytes(const Checkpoint& checkpoint, const ModelDescription& model);
  /// Reads everything. `files[i]` is the reader's index of checkpoint.files[i]. Checks every shape
  /// against the description: kCorrupt names the tensor.
  static Result<DenseWeights> load(const Checkpoint& checkpoint, const ModelDescription& model,
                                   BlockReader& reader, const std::vector<FileIndex>& files);

  /// Brings all matrices into the order that the device multiplies fastest.
  void repack(Compute& compute);

  const WeightMatrix& embedding() const { return embedding_; }  // [vocabulary, hidden]
  const WeightMatrix& head() const { return head_; }         // the same matrix where they are tied
  const float* output_norm() const { return output_norm_; }  // [hidden]
  const std::vector<LayerWeights>& layers() const { return layers_; }
  std::uint64_t size() const { return memory_.size(); }

 private:
  friend class WeightBinder;
  AlignedBuffer memory_;
  WeightMatrix embedding_;
  WeightMatrix head_;
  const float* output_norm_ = nullptr;
  std::vector<LayerWeights> layers_;
};

}  // namespace sluice

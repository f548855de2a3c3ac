#pragma once
// The weights that stay in memory: everything but the routed experts.

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/status.h"
#include "engine/layer_weights.h"
#include "engine/model_description.h"
#include "formats/checkpoint.h"
#include "io/block_reader.h"

namespace sluice {

/// Immutable after loading and `repack`.
class DenseWeights {
 public:
  /// Bytes that `load` will hold.
  static Result<std::uint64_t> bytes(const Checkpoint& checkpoint, const ModelDescription& model);
  /// Reads everything, and checks it where the files keep checksums. `files[i]` is the reader's index of checkpoint.files[i]. Checks every shape
  /// against the description: kCorrupt names the tensor. kCancelled once `cancel` is true, which
  /// is looked at between blocks.
  static Result<DenseWeights> load(const Checkpoint& checkpoint, const ModelDescription& model,
                                   BlockReader& reader, const std::vector<FileIndex>& files,
                                   const std::atomic<bool>* cancel = nullptr);

  /// Brings all matrices that meet 8-bit activations into the order that the device multiplies
  /// fastest. kCancelled once `cancel` is true, which is looked at between layers.
  Status repack(Compute& compute, const std::atomic<bool>* cancel = nullptr);

  const WeightMatrix& embedding() const { return embedding_; }  // [vocabulary, hidden]
  const WeightMatrix& head() const { return head_; }     // the same matrix where they are tied
  const float* head_bias() const { return head_bias_; }  // [vocabulary] or null
  const NormWeights& output_norm() const { return output_norm_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  std::uint64_t size() const { return memory_.size(); }

 private:
  friend class WeightBinder;
  AlignedBuffer memory_;
  WeightMatrix embedding_;
  WeightMatrix head_;
  const float* head_bias_ = nullptr;
  NormWeights output_norm_;
  std::vector<LayerWeights> layers_;
};

}  // namespace sluice

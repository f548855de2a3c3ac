#pragma once
// The weights that stay in memory: everything but the routed experts.

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/device_backend.h"
#include "base/status.h"
#include "formats/checkpoint.h"
#include "io/block_reader.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"

namespace sluice {

/// Immutable after loading and `repack`.
class DenseWeights {
 public:
  /// Bytes that `load` will hold.
  static Result<std::uint64_t> bytes(const Checkpoint& checkpoint, const ModelDescription& model);
  /// Reads everything, and checks it where the files keep checksums. `files[i]` is the reader's
  /// index of checkpoint.files[i]. Checks every shape against the description: kCorrupt names the
  /// tensor. kCancelled once `cancel` is true, which is looked at between blocks. `progress`, if it
  /// is there, is told which share of the bytes has come.
  static Result<DenseWeights> load(const Checkpoint& checkpoint, const ModelDescription& model,
                                   BlockReader& reader, const std::vector<FileIndex>& files,
                                   const std::atomic<bool>* cancel = nullptr,
                                   const std::function<void(double)>& progress = {});

  /// Brings all matrices that meet 8-bit activations into the order that the device multiplies
  /// fastest. kCancelled once `cancel` is true, which is looked at between layers.
  Status repack(Compute& compute, const std::atomic<bool>* cancel = nullptr);

  /// Of the layers before `end`, counted back from there, those with nothing but matrices that the
  /// device multiplies.
  std::uint32_t layers_for(const DeviceBackend& device, std::uint32_t end) const;
  /// What `copy_to` takes of a device's memory.
  std::uint64_t device_bytes(std::uint32_t first, std::uint32_t end, bool head) const;
  /// Layers [first, end), and the head if it is wanted, in the device's memory, but for factors of
  /// layers; the others are empty. REQUIRES: these are as the files have them.
  Result<DenseWeights> copy_to(DeviceBackend& device, StreamIndex stream,
                               const Checkpoint& checkpoint, const ModelDescription& model,
                               std::uint32_t first, std::uint32_t end, bool head) const;

  const WeightMatrix& embedding() const { return embedding_; }  // [vocabulary, hidden]
  const WeightMatrix& head() const { return head_; }     // the same matrix where they are tied
  const float* head_bias() const { return head_bias_; }  // [vocabulary] or null
  const NormWeights& output_norm() const { return output_norm_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  std::uint64_t size() const { return memory_.size(); }

 private:
  friend class WeightBinder;
  /// Of memory_, before the head.
  std::uint64_t head_begin() const {
    return static_cast<std::uint64_t>(head_.data - memory_.data());
  }

  AlignedBuffer memory_;
  DeviceBuffer there_;                       // in its place
  std::vector<std::uint64_t> layer_begins_;  // [layers + 1]: in memory_, after the head
  WeightMatrix embedding_;
  WeightMatrix head_;
  const float* head_bias_ = nullptr;
  NormWeights output_norm_;
  std::vector<LayerWeights> layers_;
};

}  // namespace sluice

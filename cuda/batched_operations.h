#pragma once
// A stream of a CudaDevice as a processor: what it is given goes into the open batch, or else to
// the stream at once.

#include "base/operations.h"
#include "cuda/batch_recorder.h"
#include "cuda/cuda_operations.h"

namespace sluice::cuda {

class BatchedOperations final : public Operations {
 public:
  /// Borrows the device.
  BatchedOperations(CudaDevice& device, StreamIndex stream)
      : launches_(device, stream), batches_(device, launches_, stream) {}

  CudaOperations& launches() { return launches_; }
  BatchRecorder& batches() { return batches_; }
  const BatchRecorder& batches() const { return batches_; }

  void norm(const NormTask& task) override;
  void map(const MapTask& task) override;
  void quantise(const Activations& activations, std::size_t rows) override;
  void matmul(std::span<const MatmulTask> tasks) override;
  void ffn(std::span<const FfnTask> tasks) override;
  void rope(const RopeTask& task) override;
  void store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows, const float* keys,
                std::size_t key_stride, const float* values, std::size_t value_stride) override;
  std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions,
                              unsigned threads) const override;
  void attention(const AttentionTask& task) override;
  void delta_net(const DeltaNetTask& task) override;
  void combine(const CombineTask& task) override;

  // Of pinned memory. REQUIRES: a batch is open.
  void upload(std::byte* device, const std::byte* host, std::size_t bytes);
  void download(std::byte* host, const std::byte* device, std::size_t bytes);

 private:
  CudaOperations launches_;
  BatchRecorder batches_;
};

}  // namespace sluice::cuda

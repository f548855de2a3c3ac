#pragma once
// A stream of a CudaDevice as a processor: each operation is some launches, given by the call. Of
// a task the pointers are to the device's memory; the arrays of pointers and places that it carries
// from the host are read before the call returns.

#include <string_view>
#include <vector>

#include "base/device_backend.h"
#include "base/operations.h"
#include "cuda/delta_net.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

class CudaDevice;

class CudaOperations final : public Operations {
 public:
  /// Borrows the device.
  CudaOperations(CudaDevice& device, StreamIndex stream) : device_(device), stream_(stream) {}

  void norm(const NormTask& task) override;
  void map(const MapTask& task) override;
  void quantise(const Activations& activations, std::size_t rows) override;
  /// Of matrices that CudaDevice::ffn takes.
  void matmul(std::span<const MatmulTask> tasks) override;
  void ffn(std::span<const FfnTask> tasks) override;
  void rope(const RopeTask& task) override;
  void store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows, const float* keys,
                std::size_t key_stride, const float* values, std::size_t value_stride) override;
  std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions,
                              unsigned threads) const override;
  void attention(const AttentionTask& task) override;
  /// Of shapes that has_delta_net.
  void delta_net(const DeltaNetTask& task) override;
  void combine(const CombineTask& task) override;
  /// The same of what `runs_of` said of such a task.
  void delta_net(const DeltaNetTask& task, std::span<const DeltaNetRun> runs);
  /// Until the next call.
  std::span<const DeltaNetRun> runs_of(const DeltaNetTask& task);

  // Of pinned memory.
  void upload(std::byte* device, const std::byte* host, std::size_t bytes);
  void download(std::byte* host, const std::byte* device, std::size_t bytes);

  bool ok() const { return error_.ok(); }
  /// The first error since the last call. After it no operation was given.
  Status take_error();

 private:
  /// launch(stream), unless there is an error.
  template <typename Launch>
  void give(std::string_view doing, const Launch& launch);
  template <typename Task>
  void give_products(std::string_view doing, std::span<const Task> tasks);
  template <typename T, typename Launch>
  void give_array(std::string_view doing, std::span<const T> array, const Launch& launch);
  void refuse(std::string_view what);

  CudaDevice& device_;
  const StreamIndex stream_;
  Status error_;
  std::vector<DeltaNetRun> runs_;
};

}  // namespace sluice::cuda

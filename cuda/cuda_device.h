#pragma once
// A GPU of NVIDIA's as a DeviceBackend.
//
// An event's time is known until EventRing::kEvents younger ones are recorded. What the driver
// refuses because there is no memory is kBudget, what it refuses as wrong kInternal; after any
// other error the device is lost for good, since CUDA gives it again for every later call.

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_backend.h"
#include "cuda/batched_operations.h"
#include "cuda/event_ring.h"
#include "cuda/graph_arguments.h"
#include "cuda/product_plan.h"
#include "cuda/runtime.h"
#include "cuda/upload_ring.h"

namespace sluice::cuda {

/// Used by one thread at a time, and by any.
class CudaDevice final : public DeviceBackend {
 public:
  /// How many the driver shows; 0 where there is no driver.
  static int count();
  /// kNotFound where there is no such device, kUnsupported where this build has no code for it.
  static Result<std::unique_ptr<CudaDevice>> open(int index);
  ~CudaDevice() override;

  std::string_view name() const override { return name_; }
  Result<Memory> memory() override;
  Result<std::byte*> allocate(std::size_t bytes) override;
  void release(std::byte* memory) override;
  Result<std::byte*> allocate_pinned(std::size_t bytes) override;
  void release_pinned(std::byte* memory) override;
  Result<StreamIndex> make_stream() override;
  Status upload(StreamIndex stream, std::byte* device, const std::byte* host,
                std::size_t bytes) override;
  Status download(StreamIndex stream, std::byte* host, const std::byte* device,
                  std::size_t bytes) override;
  bool multiplies(const WeightMatrix& weight) const override { return ProductPlan::takes(weight); }
  /// Products with matrices of kRows in any quantised format, F32, F16 or BF16, and of kPlanes,
  /// 16-byte aligned. Others are kUnsupported or kInvalidArgument, before anything is computed.
  Operations& operations(StreamIndex stream) override { return operations_[stream]; }
  void begin_batch(StreamIndex stream, std::uint64_t key) override;
  Status end_batch(StreamIndex stream) override;
  std::uint64_t batch_bytes() const override {
    return BatchRecorder::kMost * BatchRecorder::kGraphBytes;
  }
  /// Of all streams.
  BatchStatistics batches() const;
  Result<DeviceEvent> record(StreamIndex stream) override;
  Status wait(StreamIndex stream, DeviceEvent event) override;
  Result<bool> done(DeviceEvent event) override;
  Status finish(DeviceEvent event) override;
  Result<double> seconds_between(DeviceEvent first, DeviceEvent second) override;

 private:
  friend class BatchRecorder;
  friend class CudaOperations;
  CudaDevice(int index, std::string name) : index_(index), name_(std::move(name)) {}
  /// Makes the device the calling thread's.
  Status begin();
  /// Gives the stream what is planned.
  cudaError_t give(cudaStream_t stream);
  /// Where the device will have the array for what the stream is given next, up to `close`.
  template <typename T>
  cudaError_t put(cudaStream_t stream, std::span<const T> array, const T*& there) {
    if (captured_ == nullptr) return ring_.upload(stream, array, there);
    const std::byte* bytes = nullptr;
    const cudaError_t error = captured_->place(std::as_bytes(array), bytes);
    there = reinterpret_cast<const T*>(bytes);
    return error;
  }
  cudaError_t close(cudaStream_t stream) {
    return captured_ == nullptr ? ring_.close(stream) : cudaSuccess;
  }
  Status check(cudaError_t error, std::string_view doing);
  Status lost() const;
  void happened(DeviceEvent event);

  const int index_;
  const std::string name_;
  std::vector<cudaStream_t> streams_;
  EventRing events_;
  UploadRing ring_;
  GraphArguments* captured_ = nullptr;        // of what a stream captures; null: none does
  std::deque<BatchedOperations> operations_;  // [streams]
  ProductPlan plan_;
  std::string lost_;  // why; empty: it is not
};

}  // namespace sluice::cuda

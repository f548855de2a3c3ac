#include "cuda/upload_ring.h"

#include <algorithm>

namespace sluice::cuda {

UploadRing::~UploadRing() {
  for (cudaEvent_t event : read_) {
    if (event != nullptr) static_cast<void>(cudaEventDestroy(event));
  }
  if (there_ != nullptr) static_cast<void>(cudaFree(there_));
  if (pinned_ != nullptr) static_cast<void>(cudaFreeHost(pinned_));
}

cudaError_t UploadRing::create() {
  void* memory = nullptr;
  if (const cudaError_t error = cudaMallocHost(&memory, kSlots * kSlotBytes);
      error != cudaSuccess) {
    return error;
  }
  pinned_ = static_cast<std::byte*>(memory);
  if (const cudaError_t error = cudaMalloc(&memory, kSlots * kSlotBytes); error != cudaSuccess) {
    return error;
  }
  there_ = static_cast<std::byte*>(memory);
  for (cudaEvent_t& event : read_) {
    if (const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
        error != cudaSuccess) {
      return error;
    }
  }
  return cudaSuccess;
}

cudaError_t UploadRing::upload_bytes(cudaStream_t stream, std::span<const std::byte> bytes,
                                     const std::byte*& there) {
  // An event that was never recorded has happened.
  if (const cudaError_t error = cudaEventSynchronize(read_[next_]); error != cudaSuccess) {
    return error;
  }
  std::byte* const from = pinned_ + next_ * kSlotBytes;
  std::byte* const to = there_ + next_ * kSlotBytes;
  std::copy(bytes.begin(), bytes.end(), from);
  there = to;
  uploaded_ += (bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
  return cudaMemcpyAsync(to, from, bytes.size(), cudaMemcpyHostToDevice, stream);
}

cudaError_t UploadRing::close(cudaStream_t stream) {
  const cudaError_t error = cudaEventRecord(read_[next_], stream);
  next_ = (next_ + 1) % kSlots;
  return error;
}

}  // namespace sluice::cuda

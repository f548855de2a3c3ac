#include "cuda/event_ring.h"

namespace sluice::cuda {

EventRing::~EventRing() {
  for (cudaEvent_t event : events_) static_cast<void>(cudaEventDestroy(event));
}

cudaError_t EventRing::record(cudaStream_t stream, std::uint64_t& number) {
  const std::size_t at = last_ % kEvents;
  if (at == events_.size()) {
    cudaEvent_t event = nullptr;
    const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDefault);
    if (error != cudaSuccess) return error;
    events_.push_back(event);
  } else if (const cudaError_t error = cudaEventSynchronize(events_[at]); error != cudaSuccess) {
    return error;
  }
  if (const cudaError_t error = cudaEventRecord(events_[at], stream); error != cudaSuccess) {
    return error;
  }
  number = ++last_;
  return cudaSuccess;
}

cudaEvent_t EventRing::find(std::uint64_t number) const {
  const bool forgotten = number == 0 || number + kEvents <= last_;
  return forgotten ? nullptr : events_[(number - 1) % kEvents];
}

}  // namespace sluice::cuda

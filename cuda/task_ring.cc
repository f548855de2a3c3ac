#include "cuda/task_ring.h"

#include <algorithm>
#include <memory>

namespace sluice::cuda {
namespace {
constexpr std::size_t kTasks = TaskRing::kSlots * TaskRing::kSlotTasks;
}

TaskRing::~TaskRing() {
  for (cudaEvent_t event : read_) {
    if (event != nullptr) static_cast<void>(cudaEventDestroy(event));
  }
  if (there_ != nullptr) static_cast<void>(cudaFree(there_));
  if (pinned_ != nullptr) static_cast<void>(cudaFreeHost(pinned_));
}

cudaError_t TaskRing::create() {
  void* memory = nullptr;
  if (const cudaError_t error = cudaMallocHost(&memory, kTasks * sizeof(GemvTask));
      error != cudaSuccess) {
    return error;
  }
  pinned_ = static_cast<GemvTask*>(memory);
  std::uninitialized_default_construct_n(pinned_, kTasks);
  if (const cudaError_t error = cudaMalloc(&memory, kTasks * sizeof(GemvTask));
      error != cudaSuccess) {
    return error;
  }
  there_ = static_cast<GemvTask*>(memory);
  for (cudaEvent_t& event : read_) {
    if (const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
        error != cudaSuccess) {
      return error;
    }
  }
  return cudaSuccess;
}

cudaError_t TaskRing::upload(cudaStream_t stream, std::span<const GemvTask> tasks,
                             const GemvTask*& there) {
  // An event that was never recorded has happened.
  if (const cudaError_t error = cudaEventSynchronize(read_[next_]); error != cudaSuccess) {
    return error;
  }
  GemvTask* const from = pinned_ + next_ * kSlotTasks;
  GemvTask* const to = there_ + next_ * kSlotTasks;
  std::copy(tasks.begin(), tasks.end(), from);
  there = to;
  return cudaMemcpyAsync(to, from, tasks.size_bytes(), cudaMemcpyHostToDevice, stream);
}

cudaError_t TaskRing::close(cudaStream_t stream) {
  const cudaError_t error = cudaEventRecord(read_[next_], stream);
  next_ = (next_ + 1) % kSlots;
  return error;
}

}  // namespace sluice::cuda

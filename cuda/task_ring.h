#pragma once
// How a launch's tasks come to the device without anybody waiting: through a ring of pinned slots,
// each with its copy on the device.

#include <cstddef>
#include <span>

#include "cuda/gemv.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// Not thread-safe.
class TaskRing {
 public:
  static constexpr std::size_t kSlots = 8;
  static constexpr std::size_t kSlotTasks = 256;

  TaskRing() = default;
  ~TaskRing();
  TaskRing(const TaskRing&) = delete;
  TaskRing& operator=(const TaskRing&) = delete;

  /// To be called once, before anything else.
  cudaError_t create();
  /// `there` is where the device will have the tasks for what the stream is given next. The host
  /// waits only where it is kSlots uploads ahead of the device. REQUIRES: at most kSlotTasks.
  cudaError_t upload(cudaStream_t stream, std::span<const GemvTask> tasks, const GemvTask*& there);
  /// The stream has been given all that reads the last upload.
  cudaError_t close(cudaStream_t stream);

 private:
  GemvTask* pinned_ = nullptr;  // [kSlots, kSlotTasks]
  GemvTask* there_ = nullptr;   // likewise, on the device
  cudaEvent_t read_[kSlots] = {};
  std::size_t next_ = 0;
};

}  // namespace sluice::cuda

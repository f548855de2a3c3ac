#pragma once
// Events of a device by their numbers, counted from 1, of which the youngest kEvents are
// remembered: the others have happened, since a new one waits for the one whose place it takes.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/runtime.h"

namespace sluice::cuda {

/// Not thread-safe.
class EventRing {
 public:
  static constexpr std::size_t kEvents = 1024;

  EventRing() = default;
  ~EventRing();
  EventRing(const EventRing&) = delete;
  EventRing& operator=(const EventRing&) = delete;

  /// The host waits only where it is kEvents ahead of the device.
  cudaError_t record(cudaStream_t stream, std::uint64_t& number);
  /// Null where it is forgotten. REQUIRES: `number` was recorded.
  cudaEvent_t find(std::uint64_t number) const;

 private:
  std::vector<cudaEvent_t> events_;  // number n is at (n - 1) % kEvents
  std::uint64_t last_ = 0;
};

}  // namespace sluice::cuda

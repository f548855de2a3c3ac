#pragma once
// Threads that read memory as fast as they can: what else reads it is held against them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "base/status.h"

namespace sluice::apps {

/// Threads that read the memory, each its part: once, or again and again until they are joined.
/// REQUIRES: the memory outlives them.
class MemoryReaders {
 public:
  MemoryReaders(std::span<const std::byte> memory, unsigned threads, bool once);
  ~MemoryReaders() { join(); }

  /// What was read, summed up, so that it was read.
  std::uint64_t join();

 private:
  std::atomic<bool> stop_;
  std::atomic<std::uint64_t> checksum_{0};
  std::vector<std::jthread> threads_;
};

/// 10⁹ bytes a second of threads that read the memory, the best of five rounds. REQUIRES: it is
/// not all zeros. kCancelled once `cancel` is true, which is looked at between rounds.
Result<double> measure_memory(std::span<const std::byte> memory, unsigned threads,
                              const std::atomic<bool>& cancel);

}  // namespace sluice::apps

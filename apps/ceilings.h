#pragma once
// What this machine can do at best, measured: the numbers that speeds are held against.

#include <atomic>

#include "base/status.h"
#include "engine/runtime.h"
#include "formats/checkpoint.h"

namespace sluice::apps {

struct Ceilings {
  double ram_read_gbs =
      0;  // 10⁹ bytes a second, all threads reading a buffer larger than the caches
  double disk_read_gbs =
      0;  // the runtime's reader on the checkpoint's files, random places, a full queue
  double disk_beside_ram_gbs = 0;  // the same while all threads read memory
};

/// Takes about two seconds and at most a quarter of the runtime's budget, which is free again
/// afterwards. kCancelled once `cancel` is true, which is looked at between reads.
Result<Ceilings> measure_ceilings(Runtime& runtime, const Checkpoint& checkpoint,
                                  const std::atomic<bool>& cancel);

}  // namespace sluice::apps

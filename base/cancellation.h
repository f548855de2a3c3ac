#pragma once
// How something that takes long is stopped: somebody sets a flag, and it is looked at between two
// steps.

#include <atomic>

#include "base/status.h"

namespace sluice {

inline Status cancelled() { return {ErrorCode::kCancelled, "stopped on request"}; }

/// kCancelled once the flag is true. Null: nobody asks.
inline Status check_cancelled(const std::atomic<bool>* cancel) {
  if (cancel == nullptr || !cancel->load(std::memory_order_relaxed)) return {};
  return cancelled();
}

}  // namespace sluice

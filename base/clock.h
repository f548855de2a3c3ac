#pragma once
// Where times come from: of a machine, or of a test that makes them up.

#include <chrono>
#include <functional>

namespace sluice {

/// Seconds since some moment; never goes back.
using Clock = std::function<double()>;

inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace sluice

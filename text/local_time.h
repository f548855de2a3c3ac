#pragma once
// What a chat template's strftime_now is told.

#include <ctime>

namespace sluice {

inline std::tm local_time() {
  const std::time_t seconds = std::time(nullptr);
  std::tm time{};
  localtime_r(&seconds, &time);
  return time;
}

}  // namespace sluice

#pragma once
// How far a long copy is, for whoever waits: a line that changes on a terminal, else a line for
// every tenth.

#include <cstdint>
#include <string>

#include "apps/progress_line.h"

namespace sluice::apps {

/// Standard error, unless --quiet. One thread at a time.
class ByteProgress {
 public:
  /// Of `total` bytes `done` are there already; the rest tells how fast it goes.
  ByteProgress(std::uint64_t total, std::uint64_t done);

  void update(std::uint64_t done);

 private:
  const std::uint64_t total_, first_;
  const double started_;
  ProgressLine line_;
  std::uint64_t tenths_ = 0;  // said, where there is no terminal
};

/// "42 % (1.7G of 4.04G), 1:05 left". `first` bytes were there at the beginning, and the others
/// took `seconds`; nothing is said of the time left before there is anything to tell it from.
std::string progress_words(std::uint64_t done, std::uint64_t total, std::uint64_t first,
                           double seconds);

}  // namespace sluice::apps

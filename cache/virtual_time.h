#pragma once
// A recorded routing on a disk and a computer that exist only as numbers: what a policy, a budget
// and reading ahead come to in tokens a second, to the last digit the same everywhere.
//
// The disk reads one thing after the other, in the order in which it was told; latency passes
// beside that. The computer does a layer's dense part, learns what the layer wants, has its misses
// read, computes the experts as they arrive, and goes on to the next layer. As the engine does, it
// tells the disk of a guess at the next layer only when that has hardly anything else to do: a
// right one that comes too late is awaited, a wrong one is in the way of the next misses and
// displaces what the policy gives up, and what was not begun when the layer's turn comes never is.

#include <atomic>
#include <cstdint>
#include <memory>

#include "cache/cache_policy.h"
#include "cache/guess_worth.h"
#include "cache/routing_trace.h"

namespace sluice {

struct DiskModel {
  double bytes_per_second = 2.3e9;
  double latency = 100e-6;  // seconds
  // Every so many reads one takes so much longer, in seconds; 0: none does.
  std::uint32_t spike_every = 0;
  double spike = 0;
};

struct ComputerModel {
  double layer = 0.8e-3;   // seconds of a layer without its experts
  double expert = 0.1e-3;  // seconds of an expert
};

/// Who guesses, a layer ahead.
struct GuessModel {
  enum class Kind : std::uint8_t {
    kOff,
    kPopularity,  // what the layer chose most often
    kPaths,       // RoutingPaths
    kRecall,      // what it will choose, each replaced by another one with probability 1 - recall
  };
  Kind kind = Kind::kOff;
  double recall = 1;
  std::uint32_t most = GuessWorth::kGrades;  // guesses of a visit that are read
  bool judged = true;                        // only where GuessWorth says so; false: always
};

struct VirtualRun {
  std::uint64_t capacity = 0;  // bytes
  DiskModel disk;
  ComputerModel computer;
  GuessModel guess;
  /// Set by another thread: the run ends soon, with what it has counted.
  const std::atomic<bool>* cancelled = nullptr;
};

/// Of decode steps; what came before them warms the cache.
struct VirtualTime {
  std::uint64_t tokens = 0;
  double seconds = 0;
  double waiting = 0;  // seconds of these in which nothing was computed
  std::uint64_t bytes_read = 0;
  std::uint64_t guesses = 0, right = 0;  // reads begun before the router spoke, and wanted then

  double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

/// REQUIRES: `policy` is fresh and was made for the shape of `trace`.
VirtualTime run_virtually(const RoutingTrace& trace, std::unique_ptr<CachePolicy> policy,
                          const VirtualRun& run);

}  // namespace sluice

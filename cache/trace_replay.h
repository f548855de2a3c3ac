#pragma once
// A recorded routing replayed through a cache policy: how often the policy would have had what the
// router wanted. The policy objects are those of the engine, driven as the engine drives them.
//
// A visit first counts what is resident of what it wants; then its misses come in, one after the
// other, and nothing that the visit wants leaves meanwhile. Where its experts alone are more than
// the cache holds, they make room for one another.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "cache/cache_policy.h"
#include "cache/routing_trace.h"

namespace sluice {

enum class ReplayRoom {
  kBytes,    // as devices are recorded: experts fit as long as their bytes do
  kExtents,  // as ExpertCache does it: runs of pages, with the gaps that these leave. To the last
             // hit what the engine counts, where nothing is read ahead and every visit fits whole:
             // what does not fit comes in as the engine's reads arrive.
};

struct ReplayOptions {
  std::uint64_t capacity = 0;  // bytes
  ReplayRoom room = ReplayRoom::kBytes;
  /// Events before this one warm the cache and are not counted.
  std::size_t count_from = 0;
  /// Set by another thread: the replay stops soon, with what it has counted.
  const std::atomic<bool>* cancelled = nullptr;
};

struct ReplayResult {
  std::uint64_t requests = 0, hits = 0;
  std::uint64_t decode_requests = 0, decode_hits = 0;
  std::uint64_t bytes_loaded = 0;

  /// 0 where nothing was requested.
  double hit_rate() const { return rate(hits, requests); }
  double decode_hit_rate() const { return rate(decode_hits, decode_requests); }

 private:
  static double rate(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  }
};

/// What holds every expert, in bytes.
std::uint64_t full_capacity(const RoutingTrace& trace, ReplayRoom room);

/// REQUIRES: `policy` is fresh and was made for the shape of `trace`.
ReplayResult replay(const RoutingTrace& trace, std::unique_ptr<CachePolicy> policy,
                    const ReplayOptions& options);

}  // namespace sluice

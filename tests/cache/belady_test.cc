#include "cache/belady.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "cache/trace_replay.h"
#include "tests/cache/drawn_trace.h"

namespace sluice {
namespace {

/// The fewest misses that any choice of victims gives, by trying all: the least cost of every set
/// of residents, event after event. Sets are bit masks over all keys.
std::uint64_t fewest_misses(const RoutingTrace& trace, int slots) {
  const CacheShape shape(trace.experts);
  std::map<unsigned, std::uint64_t> cost{{0u, 0u}};
  for (const RoutingEvent& event : trace.events) {
    unsigned wanted = 0;
    for (const RoutedExpert& routed : trace.wanted(event)) {
      wanted |= 1u << shape.index({event.layer, routed.expert, 0});
    }
    std::map<unsigned, std::uint64_t> after;
    for (const auto& [resident, misses] : cost) {
      const auto here = misses + static_cast<unsigned>(__builtin_popcount(wanted & ~resident));
      // Every subset of what need not stay, as long as all fit.
      const unsigned others = resident & ~wanted;
      for (unsigned kept = others;; kept = (kept - 1) & others) {
        if (__builtin_popcount(kept | wanted) <= slots) {
          const auto [at, is_new] = after.try_emplace(kept | wanted, here);
          at->second = std::min(at->second, here);
        }
        if (kept == 0) break;
      }
    }
    cost = std::move(after);
  }
  std::uint64_t least = ~std::uint64_t{0};
  for (const auto& [resident, misses] : cost) least = std::min(least, misses);
  return least;
}

TEST(Belady, MissesAsSeldomAsIsPossible) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    const RoutingTrace trace = test::drawn_trace(seed, 2 + seed % 2, 4, 1 + seed % 2, 12);
    const CacheShape shape(trace.experts);
    for (const int slots : {2, 3, 5}) {
      const ReplayResult best = replay(trace, std::make_unique<Belady>(shape, trace),
                                       {.capacity = static_cast<std::uint64_t>(slots) * 4096});
      ASSERT_EQ(best.requests - best.hits, fewest_misses(trace, slots))
          << "seed " << seed << ", " << slots << " slots";
    }
  }
}

TEST(Belady, NoPolicyMissesLess) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    const RoutingTrace trace = test::drawn_trace(seed, 6, 24, 3, 200);
    const CacheShape shape(trace.experts);
    for (const std::uint64_t slots : {10u, 30u, 60u, 100u}) {
      for (const ReplayRoom room : {ReplayRoom::kBytes, ReplayRoom::kExtents}) {
        const ReplayOptions options{.capacity = slots * 4096, .room = room};
        const auto best = replay(trace, std::make_unique<Belady>(shape, trace), options);
        for (const std::string& name : cache_policy_names()) {
          const auto other =
              replay(trace, std::move(make_cache_policy(name, shape)).value(), options);
          ASSERT_EQ(other.requests, best.requests);
          ASSERT_LE(other.hits, best.hits) << name << ", " << slots << " slots";
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice

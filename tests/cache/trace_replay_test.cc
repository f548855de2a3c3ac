#include "tests/cache/trace_replay.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <numeric>

#include "tests/support/test_data.h"

namespace sluice {
namespace {

using test::ReplayResult;
using test::RoutingTrace;

ReplayResult run(const RoutingTrace& trace, std::uint64_t capacity, std::string_view policy) {
  const CacheShape shape(trace.experts);
  if (policy == "belady") {
    return test::replay(trace, capacity, std::make_unique<test::Belady>(shape, trace));
  }
  return test::replay(trace, capacity, std::move(make_cache_policy(policy, shape)).value());
}

/// Prints the table and asks that the default policy be no worse than LRU anywhere.
void compare(const char* name, const RoutingTrace& trace) {
  std::uint64_t all = 0;
  for (std::size_t layer = 0; layer < trace.experts.size(); ++layer) {
    all += trace.experts[layer] * ExtentArena::rounded(trace.expert_bytes[layer]);
  }
  std::printf("%-14s capacity    lru    lfu  decayed  belady   (decode hit rate, %%)\n", name);
  for (const unsigned percent : {10u, 20u, 30u, 50u}) {
    const std::uint64_t capacity = all / 100 * percent;
    const double lru = run(trace, capacity, "lru").decode_hit_rate();
    const double lfu = run(trace, capacity, "lfu").decode_hit_rate();
    const double decayed = run(trace, capacity, "decayed").decode_hit_rate();
    const double belady = run(trace, capacity, "belady").decode_hit_rate();
    std::printf("%14s %6u %% %6.1f %6.1f %8.1f %7.1f\n", "", percent, 100 * lru, 100 * lfu,
                100 * decayed, 100 * belady);
    EXPECT_GE(decayed, lru) << name << " at " << percent << " %";
    EXPECT_GE(decayed, lfu) << name << " at " << percent << " %";
    EXPECT_GE(belady, decayed) << name << " at " << percent << " %";
  }
}

TEST(TraceReplay, GptOss20b) {
  const auto path = test::test_data("traces/gpt-oss-20b/experts.u8");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  compare("gpt-oss-20b", test::read_packed_trace(path, 24, 32, 4, 3000));
}

TEST(TraceReplay, Qwen3) {
  const auto path = test::test_data("traces/qwen3-30b-a3b.route.csv.gz");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  const RoutingTrace trace = test::read_route_trace(path);
  ASSERT_EQ(trace.experts, std::vector<std::uint32_t>(48, 128));
  compare("qwen3-30b-a3b", trace);
}

/// 32.4 % and 44.8 % were recorded on a device with one LRU over bytes: the replay is checked end
/// to end. (Experts of one size: nothing is lost to fragmentation.)
TEST(TraceReplay, GptOss120bAgreesWithTheDevice) {
  const auto path = test::test_data("traces/gpt-oss-120b.route.csv.gz");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  const RoutingTrace trace = test::read_route_trace(path);
  const ReplayResult result = run(trace, std::uint64_t{3000} << 20, "lru");
  EXPECT_NEAR(result.hit_rate(), 0.324, 0.0006);
  EXPECT_NEAR(result.decode_hit_rate(), 0.448, 0.0006);
  compare("gpt-oss-120b", trace);
}

/// Recorded: 74.9 % and 80.3 %, counting bytes alone. Experts of two sizes in real extents cost a
/// little of that: without a preference for victims that make room at once it would be 73.6
/// and 78.9.
TEST(TraceReplay, Qwen3LosesLittleToGapsBetweenExtents) {
  const auto path = test::test_data("traces/qwen3-30b-a3b.route.csv.gz");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  const ReplayResult result = run(test::read_route_trace(path), std::uint64_t{4000} << 20, "lru");
  EXPECT_NEAR(result.hit_rate(), 0.749, 0.006);
  EXPECT_NEAR(result.decode_hit_rate(), 0.803, 0.006);
}

}  // namespace
}  // namespace sluice

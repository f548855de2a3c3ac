#include "cache/auto_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cache/trace_replay.h"
#include "tests/cache/drawn_trace.h"

namespace sluice {
namespace {

constexpr std::uint32_t kLayers = 4, kExperts = 64;  // a fifth of them is 51
constexpr unsigned kSteps = 6000;

/// Every want by itself, each expert with a probability of its own that never changes.
RoutingTrace independent_trace() {
  RoutingTrace trace = test::empty_trace(kLayers, kExperts);
  std::mt19937 random(1);
  std::vector<double> weights;
  for (std::uint32_t expert = 0; expert < kExperts; ++expert) weights.push_back(1.0 / (8 + expert));
  std::discrete_distribution<unsigned> draw(weights.begin(), weights.end());
  for (unsigned step = 0; step < kSteps; ++step) {
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::array wanted{static_cast<std::uint16_t>(draw(random))};
      test::append(trace, layer, true, wanted);
    }
  }
  return trace;
}

/// What was wanted n others ago is wanted with a probability that falls with n, whoever it is:
/// there is nothing better than LRU then.
RoutingTrace recency_trace() {
  RoutingTrace trace = test::empty_trace(kLayers, kExperts);
  std::mt19937 random(2);
  std::vector<std::vector<std::uint16_t>> stacks(kLayers);
  for (auto& stack : stacks) {
    for (std::uint16_t expert = 0; expert < kExperts; ++expert) stack.push_back(expert);
  }
  std::geometric_distribution<std::size_t> depth(0.09);
  for (unsigned step = 0; step < kSteps; ++step) {
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      auto& stack = stacks[layer];
      const auto at = stack.begin() + static_cast<std::ptrdiff_t>(depth(random) % kExperts);
      std::rotate(stack.begin(), at, at + 1);
      const std::array wanted{stack.front()};
      test::append(trace, layer, true, wanted);
    }
  }
  return trace;
}

/// A hot set that is another one every so often.
RoutingTrace drifting_trace() {
  RoutingTrace trace = test::empty_trace(kLayers, kExperts);
  std::mt19937 random(3);
  for (unsigned step = 0; step < kSteps; ++step) {
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::uint32_t begin = step / 25 * 23 % kExperts;
      const std::array wanted{static_cast<std::uint16_t>((begin + random() % 12) % kExperts)};
      test::append(trace, layer, true, wanted);
    }
  }
  return trace;
}

double rate(const RoutingTrace& trace, std::string_view name, std::size_t slots) {
  return replay(trace, std::move(make_cache_policy(name, CacheShape(trace.experts))).value(),
                {.capacity = slots * 4096, .count_from = trace.events.size() / 2})
      .hit_rate();
}

/// Who is in charge at the end.
std::string in_charge(const RoutingTrace& trace, std::size_t slots) {
  struct Shared final : CachePolicy {
    explicit Shared(AutoPolicy& policy) : policy_(policy) {}
    std::string_view name() const override { return policy_.name(); }
    void visit(std::uint32_t layer) override { policy_.visit(layer); }
    void touch(CacheKey key, float score) override { policy_.touch(key, score); }
    void admit(CacheKey key, std::uint64_t bytes) override { policy_.admit(key, bytes); }
    void forget(CacheKey key) override { policy_.forget(key); }
    std::optional<CacheKey> victim(const Evictable& evictable) override {
      return policy_.victim(evictable);
    }
    double distance(CacheKey key) const override { return policy_.distance(key); }
    AutoPolicy& policy_;
  };
  AutoPolicy policy((CacheShape(trace.experts)));
  replay(trace, std::make_unique<Shared>(policy), {.capacity = slots * 4096});
  return std::string(policy.in_charge());
}

/// Fixed policies that are worse than another one by much, and auto, which is not.
TEST(AutoPolicy, TakesLfuWhereNothingEverChanges) {
  const RoutingTrace trace = independent_trace();
  for (const std::size_t slots : {25u, 51u, 77u}) {
    EXPECT_EQ(in_charge(trace, slots), "lfu") << slots;
    EXPECT_LT(rate(trace, "learned", slots), rate(trace, "lfu", slots) - 0.05) << slots;
    EXPECT_GE(rate(trace, "auto", slots), rate(trace, "lfu", slots) - 0.003) << slots;
  }
}

TEST(AutoPolicy, TakesLruWhereOnlyRecencyCounts) {
  const RoutingTrace recency = recency_trace(), drifting = drifting_trace();
  for (const RoutingTrace* trace : {&recency, &drifting}) {
    EXPECT_EQ(in_charge(*trace, 51), "lru");
    EXPECT_LT(rate(*trace, "learned", 51), rate(*trace, "lru", 51) - 0.01);
    EXPECT_LT(rate(*trace, "lfu", 51), rate(*trace, "lru", 51) - 0.3);
    EXPECT_GE(rate(*trace, "auto", 51), rate(*trace, "lru", 51) - 0.003);
  }
}

TEST(AutoPolicy, ChangesAgainWhenTheRoutingDoes) {
  RoutingTrace trace = independent_trace();
  const RoutingTrace then = drifting_trace();
  for (RoutingEvent event : then.events) {
    event.first += trace.routed.size();
    trace.events.push_back(event);
  }
  trace.routed.insert(trace.routed.end(), then.routed.begin(), then.routed.end());
  EXPECT_EQ(in_charge(trace, 51), "lru");
}

/// Equal candidates: all that there is fits, or nothing is ever wanted again in time.
TEST(AutoPolicy, StaysWithTheFirstWhereNobodyIsBetter) {
  const RoutingTrace trace = test::drawn_trace(3, 4, 16, 2, 3000);
  EXPECT_EQ(in_charge(trace, 64), "learned");
  EXPECT_EQ(in_charge(trace, 20), "learned");
}

}  // namespace
}  // namespace sluice

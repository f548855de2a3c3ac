#include "cache/expert_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint64_t kPage = ExtentArena::kGranularity;

ExpertCache make_cache(const std::vector<std::uint32_t>& experts, std::uint64_t pages,
                       std::string_view policy) {
  CacheShape shape(experts);
  auto made = make_cache_policy(policy, shape);
  return ExpertCache(shape, pages * kPage, std::move(made).value());
}

TEST(CacheShape, NumbersKeysWithoutGaps) {
  const CacheShape shape({3, 5, 1}, 2);
  ASSERT_EQ(shape.size(), 18u);
  for (std::uint32_t index = 0; index < shape.size(); ++index) {
    EXPECT_EQ(shape.index(shape.key(index)), index);
  }
  EXPECT_EQ(shape.key(7), (CacheKey{1, 0, 1}));
}

/// LFU takes what comes seldom for the first to go.
TEST(ExpertCache, ReservesWhereAnotherIsWorthLess) {
  for (const std::string& policy : cache_policy_names()) {
    SCOPED_TRACE(policy);
    ExpertCache cache = make_cache({4}, 2, policy);
    const CacheKey often{0, 0, 0}, seldom{0, 1, 0}, never{0, 2, 0};
    for (const CacheKey key : {often, seldom}) {
      EXPECT_EQ(cache.displaced_by(key, kPage), std::nullopt);
      ASSERT_TRUE(cache.reserve_if_worth(key, kPage)) << "there is room";
      cache.loaded(key);
      cache.unpin(key);
    }
    for (int i = 0; i < 50; ++i) {
      const CacheKey wanted[] = {often, seldom};
      cache.visit(0, std::span(wanted).first(i % 10 == 0 ? 2 : 1));
    }
    if (policy == "lfu") {
      EXPECT_FALSE(cache.reserve_if_worth(never, kPage));
    }
    const auto displaced = cache.displaced_by(never, kPage);
    ASSERT_TRUE(displaced);
    EXPECT_EQ(cache.residents().size(), 2u) << "it was only asked";
    const auto taken = cache.reserve_if_worth(never, kPage);
    // Those that remember who left take the question for somebody who came and went.
    if (policy != "arc" && policy != "s3fifo") {
      EXPECT_EQ(*displaced == never, !taken);
      if (taken) {
        EXPECT_EQ(cache.state(*displaced), CopyState::kEmpty);
      }
    }
    EXPECT_EQ(cache.state(never), taken ? CopyState::kLoading : CopyState::kEmpty);
    EXPECT_EQ(cache.residents().size(), taken ? 1u : 2u);
    if (taken) continue;
    const CacheKey wanted[] = {never};
    for (int i = 0; i < 200; ++i) cache.visit(0, wanted);
    EXPECT_TRUE(cache.reserve_if_worth(never, kPage)) << "by now it is wanted most";
    // What is in use does not leave for it.
    const CacheKey last{0, 3, 0};
    (void)cache.pin(often);
    (void)cache.pin(seldom);
    EXPECT_EQ(cache.displaced_by(last, kPage), last);
    EXPECT_FALSE(cache.reserve_if_worth(last, kPage));
  }
}

TEST(ExpertCache, GoesThroughItsStates) {
  ExpertCache cache = make_cache({4}, 2, "lru");
  const CacheKey a{0, 0, 0}, b{0, 1, 0}, c{0, 2, 0};
  EXPECT_EQ(cache.pin(a).state, CopyState::kEmpty);
  const auto first = cache.reserve(a, kPage);
  ASSERT_TRUE(first);
  EXPECT_EQ(cache.state(a), CopyState::kLoading);
  cache.loaded(a);
  EXPECT_EQ(cache.state(a), CopyState::kReady);
  ASSERT_TRUE(cache.reserve(b, kPage));
  // Pinned and loading: no room, and nothing is lost by asking.
  EXPECT_FALSE(cache.reserve(c, kPage));
  EXPECT_EQ(cache.state(a), CopyState::kReady);
  cache.unpin(a);
  ASSERT_TRUE(cache.reserve(c, kPage));
  EXPECT_EQ(cache.state(a), CopyState::kEmpty);
  cache.failed(b);
  EXPECT_EQ(cache.state(b), CopyState::kEmpty);
  const auto again = cache.reserve(a, kPage);
  ASSERT_TRUE(again);
  EXPECT_GT(again->version, first->version);
  const PinnedCopy pinned = cache.pin(a);
  EXPECT_EQ(pinned.state, CopyState::kLoading);
  EXPECT_EQ(pinned.copy.version, again->version);
  EXPECT_EQ(pinned.copy.extent, again->extent);
  EXPECT_EQ(cache.pinned_bytes(), 2 * kPage);
  EXPECT_EQ(cache.counters().evictions, 1u);
}

TEST(ExpertCache, DoesNotEmptyItselfForWhatCannotFit) {
  ExpertCache cache = make_cache({8}, 4, "auto");
  for (std::uint16_t expert = 0; expert < 4; ++expert) {
    ASSERT_TRUE(cache.reserve({0, expert, 0}, kPage));
    cache.loaded({0, expert, 0});
    if (expert != 0) cache.unpin({0, expert, 0});
  }
  EXPECT_FALSE(cache.reserve({0, 5, 0}, 4 * kPage));
  EXPECT_EQ(cache.counters().evictions, 0u);
  EXPECT_TRUE(cache.reserve({0, 5, 0}, 3 * kPage));
}

class ExpertCacheStress : public ::testing::TestWithParam<std::string> {};

/// Random traffic with pins and ragged sizes, against what the test itself knows.
TEST_P(ExpertCacheStress, NeverEvictsPinnedOrLoadingAndNeverOverlaps) {
  struct Held {
    Extent extent;
    std::uint32_t version = 0;
    unsigned pins = 0;
    bool loading = false;
  };
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    const std::vector<std::uint32_t> experts = {16, 8, 24};
    ExpertCache cache = make_cache(experts, 5 + random() % 80, GetParam());
    std::map<std::uint32_t, Held> held;  // pinned or loading
    for (int step = 0; step < 20000; ++step) {
      const auto layer = static_cast<std::uint32_t>(random() % experts.size());
      const CacheKey key{layer, static_cast<std::uint16_t>(random() % experts[layer]), 0};
      const std::uint32_t index = cache.shape().index(key);
      const auto known = held.find(index);
      switch (random() % 6) {
        case 0:
          cache.visit(layer, {&key, 1});
          break;
        case 1:
        case 2:
          if (cache.state(key) == CopyState::kEmpty) {
            ASSERT_EQ(known, held.end()) << "a pinned copy vanished";
            const auto copy = cache.reserve(key, (1 + (layer + random()) % 4) * kPage);
            if (copy) held[index] = {copy->extent, copy->version, 1, true};
          } else {
            const PinnedCopy pinned = cache.pin(key);
            if (known != held.end()) {
              ASSERT_EQ(pinned.copy.version, known->second.version);
              ASSERT_EQ(pinned.copy.extent, known->second.extent);
              known->second.pins += 1;
            } else {
              ASSERT_EQ(pinned.state, CopyState::kReady);
              held[index] = {pinned.copy.extent, pinned.copy.version, 1, false};
            }
          }
          break;
        case 3:
          if (known != held.end() && known->second.loading) {
            if (random() % 4 == 0) {
              cache.failed(key);
              held.erase(known);
            } else {
              cache.loaded(key);
              known->second.loading = false;
            }
          }
          break;
        default:
          if (known != held.end() && !known->second.loading) {
            cache.unpin(key);
            if (--known->second.pins == 0) held.erase(known);
          }
      }
      std::vector<Extent> extents;
      std::uint64_t pinned_bytes = 0;
      for (const auto& [at, copy] : held) {
        ASSERT_EQ(cache.state(cache.shape().key(at)),
                  copy.loading ? CopyState::kLoading : CopyState::kReady);
        extents.push_back(copy.extent);
        pinned_bytes += copy.extent.bytes;
      }
      ASSERT_EQ(cache.pinned_bytes(), pinned_bytes);
      std::sort(extents.begin(), extents.end(),
                [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
      for (std::size_t i = 1; i < extents.size(); ++i) {
        ASSERT_LE(extents[i - 1].offset + extents[i - 1].bytes, extents[i].offset);
      }
      if (!extents.empty()) {
        ASSERT_LE(extents.back().offset + extents.back().bytes, cache.capacity());
      }
    }
    // Nothing leaked: with all pins given back, one extent can take everything.
    for (const auto& [at, copy] : held) {
      const CacheKey key = cache.shape().key(at);
      if (copy.loading) {
        cache.failed(key);
      } else {
        for (unsigned pin = 0; pin < copy.pins; ++pin) cache.unpin(key);
      }
    }
    EXPECT_EQ(cache.pinned_bytes(), 0u);
    CacheKey empty{};
    while (cache.state(empty) != CopyState::kEmpty) empty.expert += 1;
    EXPECT_TRUE(cache.reserve(empty, cache.capacity()));
    EXPECT_EQ(cache.free_bytes(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, ExpertCacheStress, ::testing::ValuesIn(cache_policy_names()));

/// For the thread sanitizer: a second thread loads ahead while the first visits.
TEST(ExpertCache, TwoThreadsShareIt) {
  ExpertCache cache = make_cache({32, 32}, 40, "auto");
  const auto work = [&cache](std::uint32_t layer) {
    std::mt19937 random(layer);
    for (int step = 0; step < 5000; ++step) {
      const CacheKey key{layer, static_cast<std::uint16_t>(random() % 32), 0};
      cache.visit(layer, {&key, 1});
      if (cache.pin(key).state == CopyState::kEmpty) {
        if (!cache.reserve(key, kPage)) continue;
        cache.loaded(key);
      }
      cache.unpin(key);
    }
  };
  std::thread other(work, 1u);
  work(0);
  other.join();
  EXPECT_EQ(cache.pinned_bytes(), 0u);
}

}  // namespace
}  // namespace sluice

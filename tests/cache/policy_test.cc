#include "cache/cache_policy.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>

#include "cache/belady.h"
#include "cache/trace_replay.h"
#include "tests/cache/drawn_trace.h"

namespace sluice {
namespace {

std::unique_ptr<CachePolicy> make(std::string_view name, const CacheShape& shape) {
  return std::move(make_cache_policy(name, shape)).value();
}

TEST(CachePolicy, IsMadeByName) {
  const CacheShape shape({4});
  EXPECT_EQ(make("auto", shape)->name(), "auto");
  EXPECT_EQ(make("decayed", shape)->name(), "decayed");
  EXPECT_EQ(make("lfu", shape)->name(), "lfu");
  EXPECT_EQ(make("lru", shape)->name(), "lru");
  EXPECT_EQ(make_cache_policy("", shape).status().code(), ErrorCode::kInvalidArgument);
}

/// What every policy owes: only residents, only what is allowed, and something whenever anything is
/// allowed.
TEST(CachePolicy, GivesUpOnlyWhatItMay) {
  for (int trial = 0; trial < 2 * static_cast<int>(cache_policy_names().size()); ++trial) {
    const std::string name = cache_policy_names()[trial / 2];
    const CacheShape shape({5, 9, 2}, trial % 2 == 0 ? 1 : 3);  // whole experts, or parts
    const auto policy = make(name, shape);
    std::mt19937 random(1);
    std::set<std::uint32_t> resident, pinned;
    const auto evictable = [&](CacheKey key) { return !pinned.contains(shape.index(key)); };
    for (int step = 0; step < 20000; ++step) {
      const auto index = static_cast<std::uint32_t>(random() % shape.size());
      const CacheKey key = shape.key(index);
      switch (random() % 7) {
        case 0:
          policy->visit(key.layer);
          break;
        case 1:
          policy->touch(key, 1);
          break;
        case 2:
          if (resident.insert(index).second) policy->admit(key, 1);
          break;
        case 3:
          if (!pinned.insert(index).second) pinned.erase(index);
          break;
        case 4:
          policy->expect(key, static_cast<float>(random() % 101) / 100);
          break;
        case 5:
          if (resident.erase(index) != 0) policy->forget(key);
          break;
        default: {
          const auto victim = policy->victim(evictable);
          bool any = false;
          for (const std::uint32_t at : resident) any |= !pinned.contains(at);
          ASSERT_EQ(victim.has_value(), any) << name;
          if (victim) {
            ASSERT_TRUE(resident.contains(shape.index(*victim))) << name;
            ASSERT_FALSE(pinned.contains(shape.index(*victim))) << name;
            // Nothing that it may give up instead is thought to be farther away.
            ASSERT_GT(policy->distance(*victim), 0) << name;
            for (const std::uint32_t at : resident) {
              if (pinned.contains(at)) continue;
              ASSERT_LE(policy->distance(shape.key(at)), policy->distance(*victim)) << name;
            }
          }
        }
      }
    }
  }
}

TEST(Lru, GivesUpTheOldest) {
  const CacheShape shape({4});
  const auto policy = make("lru", shape);
  for (std::uint16_t expert = 0; expert < 4; ++expert) policy->admit({0, expert, 0}, 1);
  policy->touch({0, 0, 0}, 1);
  const auto any = [](CacheKey) { return true; };
  EXPECT_EQ(policy->victim(any)->expert, 1);
  policy->forget({0, 1, 0});
  EXPECT_EQ(policy->victim(any)->expert, 2);
  EXPECT_EQ(policy->victim([](CacheKey key) { return key.expert != 2; })->expert, 3);
}

TEST(DecayedFrequency, AmongEqualsTheLayerJustLeftGoesFirst) {
  const CacheShape shape({2, 2, 2, 2});
  const auto policy = make("decayed", shape);
  for (int pass = 0; pass < 3; ++pass) {
    for (std::uint32_t layer = 0; layer < 4; ++layer) {
      policy->visit(layer);
      policy->touch({layer, 0, 0}, 1);
      if (pass == 0) policy->admit({layer, 0, 0}, 1);
    }
  }
  const auto any = [](CacheKey) { return true; };
  policy->visit(0);
  policy->touch({0, 0, 0}, 1);
  policy->visit(1);
  policy->touch({1, 0, 0}, 1);
  EXPECT_EQ(policy->victim([](CacheKey key) { return key.layer != 1; })->layer, 0u);
  EXPECT_EQ(policy->victim(any)->layer, 1u);
}

TEST(LayeredPolicy, WhatIsExpectedStaysUntilItsTurn) {
  const CacheShape shape({2, 2});
  const auto policy = make("decayed", shape);
  const auto any = [](CacheKey) { return true; };
  for (std::uint16_t expert = 0; expert < 2; ++expert) policy->admit({1, expert, 0}, 1);
  policy->visit(0);
  policy->visit(1);
  policy->touch({1, 1, 0}, 1);
  policy->visit(0);
  EXPECT_EQ(policy->victim(any)->expert, 0);
  policy->expect({1, 0, 0}, 0.9f);
  EXPECT_EQ(policy->victim(any)->expert, 1);
  policy->visit(1);  // the turn that was meant
  EXPECT_EQ(policy->victim(any)->expert, 0);
}

/// Sentences of eight words in random order; a word has experts of its own in every layer, of 64.
TEST(PathFrequency, KnowsWhatFollows) {
  constexpr std::uint32_t kLayers = 12, kSentence = 8, kWords = 5 * kSentence;
  RoutingTrace trace = test::empty_trace(kLayers, 64);
  std::mt19937 random(4);
  std::vector<std::vector<std::uint16_t>> wants(std::size_t{kWords} * kLayers);
  for (auto& want : wants) {
    std::set<std::uint16_t> drawn;
    while (drawn.size() < 4) drawn.insert(static_cast<std::uint16_t>(random() % 64));
    want.assign(drawn.begin(), drawn.end());
  }
  std::size_t word = 0;
  for (int step = 0; step < 600; ++step) {
    word = step % kSentence == 0 ? random() % kWords / kSentence * kSentence : word + 1;
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      test::append(trace, layer, true, wants[word * kLayers + layer]);
    }
  }
  const CacheShape shape(trace.experts);
  const auto rate = [&](std::unique_ptr<CachePolicy> policy) {
    return replay(trace, std::move(policy), {.capacity = 200 * 4096, .count_from = 200 * kLayers})
        .decode_hit_rate();
  };
  // Frequency has nothing to go by: all words are as frequent.
  const double without = rate(make("mixed", shape));
  const double best = rate(std::make_unique<Belady>(shape, trace));
  EXPECT_GT(rate(make("paths", shape)) - without, 0.1 * (best - without));
}

TEST(DecayedFrequency, ANewcomerKeepsItsHistory) {
  const CacheShape shape({3});
  const auto policy = make("decayed", shape);
  const auto any = [](CacheKey) { return true; };
  for (std::uint16_t expert = 0; expert < 2; ++expert) policy->admit({0, expert, 0}, 1);
  for (int pass = 0; pass < 20; ++pass) {
    policy->visit(0);
    policy->touch({0, 0, 0}, 1);
    if (pass % 4 == 0) policy->touch({0, 1, 0}, 1);
  }
  policy->forget({0, 0, 0});
  policy->admit({0, 2, 0}, 1);
  policy->visit(0);
  policy->touch({0, 2, 0}, 1);
  policy->forget({0, 2, 0});
  policy->admit({0, 0, 0}, 1);  // back, not wanted just now
  EXPECT_EQ(policy->victim(any)->expert, 1);
}

/// All experts of all layers, again and again: a prefill in chunks, twice as large as the cache.
TEST(DecayedFrequency, ResistsTheCycleThatFloodsLru) {
  RoutingTrace trace = test::empty_trace(4, 16);
  std::vector<std::uint16_t> all(16);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  for (int pass = 0; pass < 50; ++pass) {
    for (std::uint32_t layer = 0; layer < 4; ++layer) test::append(trace, layer, true, all);
  }
  const CacheShape shape(trace.experts);
  const auto rate = [&](std::unique_ptr<CachePolicy> policy) {
    return replay(trace, std::move(policy), {.capacity = 32 * 4096}).hit_rate();
  };
  EXPECT_EQ(rate(make("lru", shape)), 0);
  const double best = rate(std::make_unique<Belady>(shape, trace));
  EXPECT_GT(best, 0.3);
  EXPECT_GT(rate(make("auto", shape)), 0.9 * best);
}

/// A hot set, and now and then a scan over everything.
TEST(DecayedFrequency, KeepsTheHotSetThroughAScan) {
  RoutingTrace trace = test::empty_trace(8, 32);
  std::vector<std::uint16_t> all(32);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  std::mt19937 random(2);
  for (int pass = 0; pass < 400; ++pass) {
    for (std::uint32_t layer = 0; layer < 8; ++layer) {
      std::set<std::uint16_t> wanted;
      while (wanted.size() < 3) {
        const bool hot = random() % 10 < 8;
        wanted.insert(static_cast<std::uint16_t>(hot ? random() % 6 : random() % 32));
      }
      const std::vector<std::uint16_t> chosen(wanted.begin(), wanted.end());
      test::append(trace, layer, pass % 40 != 0, pass % 40 != 0 ? chosen : all);
    }
  }
  const CacheShape shape(trace.experts);
  const auto rate = [&](std::string_view name) {
    return replay(trace, make(name, shape), {.capacity = 64 * 4096}).decode_hit_rate();
  };
  EXPECT_GT(rate("auto"), rate("lru") + 0.05);
}

}  // namespace
}  // namespace sluice

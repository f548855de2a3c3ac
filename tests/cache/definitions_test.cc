// Every policy against its definition, computed from the whole history of what was wanted.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <set>
#include <vector>

#include "cache/cache_policy.h"

namespace sluice {
namespace {

struct Use {
  std::uint32_t visit = 0;  // of its layer, from 1
  float score = 0;
};

constexpr std::uint16_t kPair[] = {0, 1}, kOtherPair[] = {2, 3};

/// What happened since the beginning, and who is resident.
struct History {
  explicit History(const CacheShape& of) : shape(of), visits(of.layers()), uses(of.size()) {}

  const CacheShape& shape;
  std::uint32_t current = 0;
  std::vector<std::uint32_t> visits;   // [layers]
  std::vector<std::vector<Use>> uses;  // [keys]
  std::vector<std::uint32_t> order;    // residents, least recently used first

  /// Part of a cycle until the layer's next turn.
  double ahead(std::uint32_t layer) const {
    const std::uint32_t count = shape.layers();
    return (layer > current ? layer - current : layer + count - current) / double(count);
  }
  /// Sum of `weight` over the key's uses, each halved as often as `half_life` visits passed.
  double decayed(std::uint32_t index, double half_life,
                 const std::function<double(const Use&)>& weight) const {
    double sum = 0;
    for (const Use& use : uses[index]) {
      sum += weight(use) * std::exp2((use.visit - double(now(index))) / half_life);
    }
    return sum;
  }
  double decayed_visits(std::uint32_t index, double half_life) const {
    double sum = 0;
    for (std::uint32_t visit = 1; visit <= now(index); ++visit) {
      sum += std::exp2((visit - double(now(index))) / half_life);
    }
    return sum;
  }
  std::uint32_t now(std::uint32_t index) const { return visits[shape.key(index).layer]; }
};

/// How gladly a resident is given up.
using Definition = std::function<double(const History&, std::uint32_t index)>;

double one(const Use&) { return 1; }

double decayed(const History& history, std::uint32_t index) {
  double share = 0;
  for (const auto& [half_life, part] : {std::pair(1.0, 0.3), {24.0, 0.7}}) {
    share += part * (history.decayed(index, half_life, one) + 0.5) /
             (history.decayed_visits(index, half_life) + 0.5);
  }
  return 1 / share + history.ahead(history.shape.key(index).layer);
}

double mixed(const History& history, std::uint32_t index) {
  const auto weight = [](const Use& use) { return 0.7 + 2 * std::min(use.score, 0.5f); };
  const auto score = [](const Use& use) { return double(use.score); };
  double share = 0;
  for (const auto& [half_life, part] : {std::pair(1.0, 0.3), {8.0, 0.2}, {24.0, 0.5}}) {
    share += part * (history.decayed(index, half_life, weight) + 0.05) /
             (history.decayed_visits(index, half_life) + 0.5);
  }
  const std::uint32_t layer = history.shape.key(index).layer;
  double all = 0;
  for (std::uint32_t i = history.shape.first(layer); i < history.shape.first(layer + 1); ++i) {
    all += history.decayed(i, 512, score);
  }
  share += 0.1 * (history.decayed(index, 512, score) + 0.05) / (all + 0.5);
  return 1 / share + history.ahead(layer);
}

double lfu(const History& history, std::uint32_t index) {
  const double share = (double(history.uses[index].size()) + 0.5) / (history.now(index) + 0.5);
  return 1 / share + history.ahead(history.shape.key(index).layer);
}

double edgemoe(const History& history, std::uint32_t index) {
  const double share = (double(history.uses[index].size()) + 0.5) / (history.now(index) + 0.5);
  return history.ahead(history.shape.key(index).layer) / share;
}

double mrs(const History& history, std::uint32_t index) {
  return -history.decayed(index, 1, [](const Use& use) { return use.score / 2.0; });
}

double place(const History& history, std::uint32_t index) {
  return static_cast<double>(std::find(history.order.begin(), history.order.end(), index) -
                             history.order.begin());
}

double lru(const History& history, std::uint32_t index) { return -place(history, index); }

/// Random steps of a model; some of what is wanted becomes resident, and victims leave.
void check(std::string_view name, const Definition& definition) {
  const CacheShape shape({7, 12, 9});
  for (unsigned seed = 0; seed < 5; ++seed) {
    std::mt19937 random(seed);
    const auto policy = std::move(make_cache_policy(name, shape)).value();
    History history(shape);
    for (int step = 0; step < 400; ++step) {
      const std::uint32_t layer = step % 3;
      policy->visit(layer);
      history.current = layer;
      history.visits[layer] += 1;
      std::set<std::uint32_t> wanted;
      while (wanted.size() < 3) {
        const auto most = shape.first(layer + 1) - shape.first(layer);
        wanted.insert(shape.first(layer) +
                      static_cast<std::uint32_t>(random() % (1 + random() % most)));
      }
      const auto forget = [&history](std::uint32_t index) { std::erase(history.order, index); };
      for (const std::uint32_t index : wanted) {
        const float score = static_cast<float>(1 + random() % 1000) / 1000;
        policy->touch(shape.key(index), score);
        history.uses[index].push_back({history.visits[layer], score});
        const bool is_resident =
            std::find(history.order.begin(), history.order.end(), index) != history.order.end();
        if (!is_resident && random() % 4 == 0) continue;
        if (!is_resident) policy->admit(shape.key(index), 1);
        forget(index);
        history.order.push_back(index);
      }
      while (history.order.size() > 11) {
        const auto evictable = [&](CacheKey key) { return !wanted.contains(shape.index(key)); };
        const auto victim = policy->victim(evictable);
        ASSERT_TRUE(victim);
        const double given = definition(history, shape.index(*victim));
        for (const std::uint32_t index : history.order) {
          if (wanted.contains(index)) continue;
          const double other = definition(history, index);
          ASSERT_GE(given, other - 1e-4 * std::abs(other))
              << name << ", seed " << seed << ", step " << step;
        }
        policy->forget(*victim);
        forget(shape.index(*victim));
      }
    }
  }
}

TEST(Definitions, Decayed) { check("decayed", decayed); }
TEST(Definitions, EdgeMoe) { check("edgemoe", edgemoe); }
TEST(Definitions, Lfu) { check("lfu", lfu); }
TEST(Definitions, Lru) { check("lru", lru); }
TEST(Definitions, Mixed) { check("mixed", mixed); }
TEST(Definitions, Mrs) { check("mrs", mrs); }

/// What was wanted again stays through any number of keys that are wanted once.
TEST(Definitions, ArcKeepsWhatIsWantedAgainThroughAScan) {
  const CacheShape shape({100});
  const auto policy = std::move(make_cache_policy("arc", shape)).value();
  const auto any = [](CacheKey) { return true; };
  for (std::uint16_t expert = 0; expert < 4; ++expert) policy->admit({0, expert, 0}, 1);
  for (const std::uint16_t expert : kPair) policy->touch({0, expert, 0}, 1);
  for (std::uint16_t expert = 4; expert < 100; ++expert) {
    policy->visit(0);
    policy->touch({0, expert, 0}, 1);
    const auto victim = policy->victim(any);
    EXPECT_EQ(victim->expert, expert - 2);
    policy->forget(*victim);
    policy->admit({0, expert, 0}, 1);
  }
}

/// Keys that are missed soon after they left the list of the once wanted move the boundary: then
/// the often wanted have to give.
TEST(Definitions, ArcGivesRoomToTheListWhoseLeaversAreMissed) {
  const CacheShape shape({100});
  const auto policy = std::move(make_cache_policy("arc", shape)).value();
  const auto any = [](CacheKey) { return true; };
  for (std::uint16_t expert = 0; expert < 4; ++expert) policy->admit({0, expert, 0}, 1);
  for (const std::uint16_t expert : kPair) policy->touch({0, expert, 0}, 1);
  for (const std::uint16_t expert : kOtherPair) {
    EXPECT_EQ(policy->victim(any)->expert, expert);
    policy->forget({0, expert, 0});
    policy->admit({0, static_cast<std::uint16_t>(expert + 50), 0}, 1);
  }
  for (const std::uint16_t expert : kOtherPair) policy->touch({0, expert, 0}, 1);
  EXPECT_EQ(policy->victim(any)->expert, 0);
}

/// What was wanted again while it was new stays through any number of keys that are wanted once,
/// and so does what is missed soon after it left.
TEST(Definitions, S3FifoKeepsWhatIsWantedAgainThroughAScan) {
  const CacheShape shape({100});
  const auto policy = std::move(make_cache_policy("s3fifo", shape)).value();
  const auto any = [](CacheKey) { return true; };
  const auto replace = [&](std::uint16_t incoming) {
    const auto victim = policy->victim(any);
    policy->forget(*victim);
    policy->admit({0, incoming, 0}, 1);
    return victim->expert;
  };
  for (std::uint16_t expert = 0; expert < 10; ++expert) policy->admit({0, expert, 0}, 1);
  for (const std::uint16_t expert : kPair) policy->touch({0, expert, 0}, 1);
  for (std::uint16_t expert = 2; expert < 40; ++expert) {
    EXPECT_EQ(replace(static_cast<std::uint16_t>(expert + 8)), expert);
  }
  EXPECT_EQ(replace(39), 40);  // it left just now: back, and in the main queue
  for (std::uint16_t expert = 41; expert < 60; ++expert) {
    EXPECT_EQ(replace(static_cast<std::uint16_t>(expert + 7)), expert);
  }
}

/// Of the older half the least used, then the oldest.
TEST(Definitions, LfruSparesTheNewerHalf) {
  const CacheShape shape({8});
  const auto policy = std::move(make_cache_policy("lfru", shape)).value();
  const auto any = [](CacheKey) { return true; };
  for (std::uint16_t expert = 0; expert < 6; ++expert) {
    policy->visit(0);
    policy->admit({0, expert, 0}, 1);
    if (expert == 0) policy->touch({0, expert, 0}, 1);
  }
  // 0 is older and used twice; 3 to 5 are the newer half.
  for (std::uint16_t expert = 1; expert <= 2; ++expert) {
    EXPECT_EQ(policy->victim(any)->expert, expert);
    policy->forget({0, expert, 0});
  }
  EXPECT_EQ(policy->victim(any)->expert, 0);
}

}  // namespace
}  // namespace sluice

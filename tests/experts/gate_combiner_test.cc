// The combiner on members whose knowledge is known: whom it comes to trust, and whether what it
// says is as probable as it says.

#include "experts/gate_combiner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "experts/counting_gates.h"
#include "tests/experts/allocation_count.h"

namespace sluice {
namespace {

constexpr GateShape kShape{.layers = 2, .experts = 32, .top_k = 4};
constexpr std::uint32_t kTarget = 1;
using Order = std::vector<std::uint32_t>;  // experts, best first

/// What will be chosen, known to the members alone.
struct World {
  std::mt19937 random{11};
  std::vector<Order> rows;  // all experts of a row; the first top_k are chosen

  Order shuffled() {
    Order order(kShape.experts);
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::shuffle(order, random);
    return order;
  }
  void advance(std::size_t count) {
    rows.resize(count);
    for (Order& row : rows) row = shuffled();
  }
  bool chosen(std::size_t row, std::uint32_t expert) const {
    const auto end = rows[row].begin() + kShape.top_k;
    return std::find(rows[row].begin(), end, expert) != end;
  }
};

using Guess = std::function<Order(std::size_t row)>;

class Member final : public GatePredictor {
 public:
  enum class Moment { kAlways, kEntering, kRouted };
  Member(Moment moment, Guess guess) : moment_(moment), guess_(std::move(guess)) {}
  std::string_view name() const override { return "member"; }
  bool predict(const GateEvidence& evidence, std::uint32_t) override {
    return moment_ == Moment::kAlways ||
           (moment_ == Moment::kEntering ? evidence.layer_input : evidence.router_input) != nullptr;
  }
  void rank(std::size_t row, std::span<std::uint32_t> likely) override {
    std::copy_n(guess_(row).begin(), likely.size(), likely.begin());
  }
  void learn(const GateEvidence&) override {}

 private:
  const Moment moment_;
  const Guess guess_;
};
using Moment = Member::Moment;

Guess perfect(World& world) {
  return [&world](std::size_t row) { return world.rows[row]; };
}
Guess ignorant(World& world) {
  return [&world](std::size_t) { return world.shuffled(); };
}
/// First the chosen ones that it knows, then others without order.
Guess knows(World& world, std::function<bool(std::uint32_t)> known) {
  return [&world, known = std::move(known)](std::size_t row) {
    Order order = world.shuffled();
    std::ranges::stable_partition(
        order, [&](std::uint32_t e) { return world.chosen(row, e) && known(e); });
    return order;
  };
}

/// By a score of each expert: noise, and of the chosen ones so much more.
Guess noisy(World& world, double clearness) {
  return [&world, clearness](std::size_t row) {
    std::normal_distribution<double> noise;
    std::vector<double> scores;
    for (std::uint32_t e = 0; e < kShape.experts; ++e) {
      scores.push_back(noise(world.random) + (world.chosen(row, e) ? clearness : 0));
    }
    Order order = world.shuffled();
    std::ranges::sort(order, std::greater(), [&](std::uint32_t e) { return scores[e]; });
    return order;
  };
}

class Bench {
 public:
  explicit Bench(World& world, std::vector<std::pair<Moment, Guess>> guesses) : world_(world) {
    std::vector<std::unique_ptr<GatePredictor>> members;
    for (auto& [moment, guess] : guesses) {
      members.push_back(std::make_unique<Member>(moment, std::move(guess)));
    }
    gate_ = std::make_unique<GateCombiner>(kShape, std::move(members));
  }
  GateCombiner& gate() { return *gate_; }

  bool before() { return gate_->predict({.layer = 0, .rows = rows(), .router_input = &some_}, 1); }
  bool entering() { return gate_->predict({.layer = 1, .rows = rows(), .layer_input = &some_}, 1); }
  Order likely(std::size_t row, std::size_t width = kShape.top_k) {
    Order order(width);
    gate_->rank(row, order);
    return order;
  }
  void learn() {
    Order chosen;
    for (const Order& row : world_.rows) {
      chosen.insert(chosen.end(), row.begin(), row.begin() + kShape.top_k);
    }
    gate_->learn(
        {.layer = kTarget, .rows = rows(), .router_input = &some_, .chosen = chosen.data()});
  }
  std::size_t right(std::size_t row) {
    return static_cast<std::size_t>(
        std::ranges::count_if(likely(row), [&](auto e) { return world_.chosen(row, e); }));
  }

 private:
  std::size_t rows() const { return world_.rows.size(); }
  World& world_;
  std::unique_ptr<GateCombiner> gate_;
  const float some_ = 0;
};

/// Share of the chosen experts among the first top_k, once it had time to learn.
double recall(std::vector<std::pair<Moment, Guess>> members, World& world, std::size_t rows = 1) {
  Bench bench(world, std::move(members));
  std::size_t right = 0, all = 0;
  for (int pass = 0; pass < 4000; ++pass) {
    world.advance(rows);
    EXPECT_TRUE(bench.before());
    for (std::size_t row = 0; pass >= 1000 && row < rows; ++row) {
      right += bench.right(row);
      all += kShape.top_k;
    }
    bench.learn();
  }
  return static_cast<double>(right) / static_cast<double>(all);
}

TEST(GateCombiner, RanksLikeAPerfectMemberBesideAnIgnorantOne) {
  World world;
  for (const std::size_t rows : {1u, 5u}) {
    EXPECT_GT(recall({{Moment::kAlways, perfect(world)}, {Moment::kAlways, ignorant(world)}}, world,
                     rows),
              0.995);
    EXPECT_GT(recall({{Moment::kAlways, ignorant(world)}, {Moment::kAlways, perfect(world)}}, world,
                     rows),
              0.995);
  }
}

TEST(GateCombiner, TwoWhoEachKnowHalfBeatEither) {
  World world;
  const Guess even = knows(world, [](std::uint32_t e) { return e % 2 == 0; });
  const Guess odd = knows(world, [](std::uint32_t e) { return e % 2 == 1; });
  const double one = recall({{Moment::kAlways, even}}, world);
  const double other = recall({{Moment::kAlways, odd}}, world);
  const double both = recall({{Moment::kAlways, even}, {Moment::kAlways, odd}}, world);
  EXPECT_LT(std::max(one, other), 0.65);  // half, and what is guessed
  EXPECT_GT(both, std::max(one, other) + 0.15);
}

TEST(GateCombiner, OfWhatItGivesAProbabilitySoManyComeTrue) {
  World world;
  // Three that look at scores in which what is chosen stands out clearly, somewhat, and not at all.
  std::vector<std::pair<Moment, Guess>> members;
  for (const double clearness : {3.0, 1.5, 0.0}) {
    members.emplace_back(Moment::kAlways, noisy(world, clearness));
  }
  Bench bench(world, std::move(members));
  struct Bin {
    double said = 0, true_ones = 0, count = 0;
  };
  std::array<Bin, 10> bins;
  for (int pass = 0; pass < 20000; ++pass) {
    world.advance(1);
    ASSERT_TRUE(bench.before());
    if (pass >= 4000) {
      const Order likely = bench.likely(0, 2 * kShape.top_k);
      const auto said = bench.gate().probabilities();
      ASSERT_EQ(said.size(), likely.size());
      for (std::size_t i = 0; i < likely.size(); ++i) {
        ASSERT_TRUE(said[i] >= 0 && said[i] <= 1);
        ASSERT_TRUE(i == 0 || said[i] <= said[i - 1]);
        Bin& bin = bins[std::min<std::size_t>(9, static_cast<std::size_t>(said[i] * 10))];
        bin.said += said[i];
        bin.true_ones += world.chosen(0, likely[i]);
        bin.count += 1;
      }
    }
    bench.learn();
  }
  int filled = 0;
  for (const Bin& bin : bins) {
    if (bin.count < 1000) continue;
    ++filled;
    EXPECT_NEAR(bin.said / bin.count, bin.true_ones / bin.count, 0.06) << bin.count;
  }
  EXPECT_GE(filled, 4);
}

TEST(GateCombiner, WhatWasSaidAtAnEarlierMomentStillCounts) {
  World world;
  const auto low = [](std::uint32_t e) { return e < kShape.experts / 2; };
  const auto high = [](std::uint32_t e) { return e >= kShape.experts / 2; };
  Bench bench(world,
              {{Moment::kRouted, knows(world, low)}, {Moment::kEntering, knows(world, high)}});
  std::size_t early = 0, late = 0, all = 0;
  for (int pass = 0; pass < 4000; ++pass) {
    world.advance(1);
    ASSERT_TRUE(bench.before());
    if (pass >= 1000) early += bench.right(0);
    ASSERT_TRUE(bench.entering());
    if (pass >= 1000) late += bench.right(0), all += kShape.top_k;
    bench.learn();
  }
  EXPECT_LT(static_cast<double>(early), 0.65 * static_cast<double>(all));
  EXPECT_GT(static_cast<double>(late),
            static_cast<double>(early) + 0.15 * static_cast<double>(all));

  // What was said of the last pass is of no use for this one.
  Bench silent(world, {{Moment::kRouted, perfect(world)}});
  ASSERT_TRUE(silent.before());
  EXPECT_TRUE(silent.entering()) << "still the same pass";
  silent.learn();
  EXPECT_FALSE(silent.entering());
}

TEST(GateCombiner, EveryRowHasItsOwnCandidatesHoweverManyThereAre) {
  World world;
  Bench bench(world, {{Moment::kAlways, perfect(world)}, {Moment::kRouted, ignorant(world)}});
  for (int pass = 0; pass < 600; ++pass) {
    world.advance(1 + world.random() % 8);
    ASSERT_TRUE(bench.before());
    for (std::size_t row = 0; pass >= 300 && row < world.rows.size(); ++row) {
      EXPECT_EQ(bench.right(row), kShape.top_k);
    }
    bench.learn();
  }
  // A pass that was stopped before the router spoke leaves nothing for one of other rows.
  world.advance(3);
  ASSERT_TRUE(bench.before());
  world.advance(2);
  ASSERT_TRUE(bench.entering());
  for (std::size_t row = 0; row < 2; ++row) EXPECT_EQ(bench.right(row), kShape.top_k);
  bench.learn();
  EXPECT_FALSE(bench.gate().predict({.layer = 1, .rows = 1}, kShape.layers)) << "no such layer";
}

TEST(GateCombiner, AllocatesNothingAfterTheFirstPasses) {
  std::vector<std::unique_ptr<GatePredictor>> members;
  members.push_back(std::make_unique<PopularityGate>(kShape));
  members.push_back(std::make_unique<LastChoiceGate>(kShape));
  members.push_back(std::make_unique<AffinityGate>(kShape, 1));
  GateCombiner gate(kShape, std::move(members));
  std::mt19937 random(5);
  constexpr std::size_t kMostRows = 8;
  std::array<std::uint32_t, kMostRows * kShape.top_k> chosen{};
  std::array<std::uint32_t, 2 * kShape.top_k> likely{};
  std::uint64_t counted = 0;
  for (int pass = 0; pass < 200; ++pass) {
    const std::size_t rows = pass == 0 ? kMostRows : 1 + random() % kMostRows;
    const std::uint64_t before = test::allocation_count();
    for (std::uint32_t layer = 0; layer < kShape.layers; ++layer) {
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        chosen[i] = static_cast<std::uint32_t>(4 * (i % kShape.top_k) + random() % 4);
      }
      const GateEvidence evidence{.layer = layer, .rows = rows, .chosen = chosen.data()};
      gate.learn(evidence);
      if (!gate.predict(evidence, layer + 1)) continue;
      for (std::size_t row = 0; row < rows; ++row) gate.rank(row, likely);
    }
    if (pass >= 2) counted += test::allocation_count() - before;
  }
  EXPECT_EQ(counted, 0u);
}

}  // namespace
}  // namespace sluice

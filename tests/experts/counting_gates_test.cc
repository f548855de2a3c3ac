// Predictors that count, on sequences whose answer is known beforehand.

#include "experts/counting_gates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace sluice {
namespace {

using testing::ElementsAre;

constexpr GateShape kShape{.layers = 3, .experts = 8, .top_k = 2};
constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();

std::vector<std::uint32_t> ranked(std::span<const float> scores, std::size_t width) {
  std::vector<std::uint32_t> best(width, 99);
  rank_scores(scores, best);
  return best;
}

std::vector<std::uint32_t> likeliest(GatePredictor& gate, std::size_t row, std::size_t width) {
  std::vector<std::uint32_t> likely(width, 99);
  gate.rank(row, likely);
  return likely;
}

void learn(GatePredictor& gate, std::uint32_t layer, const std::vector<std::uint32_t>& chosen) {
  gate.learn({.layer = layer, .rows = chosen.size() / kShape.top_k, .chosen = chosen.data()});
}

TEST(RankScores, GivesTheHighestFirstAndOfEqualOnesTheLower) {
  const std::vector<float> scores{1, 3, 3, -2, 0, 3, 1};
  EXPECT_THAT(ranked(scores, 5), ElementsAre(1, 2, 5, 0, 6));
  EXPECT_THAT(ranked(scores, 7), ElementsAre(1, 2, 5, 0, 6, 4, 3));
  EXPECT_THAT(ranked(scores, 0), ElementsAre());
}

TEST(RankScores, PutsWhatIsNoNumberLast) {
  const float infinite = std::numeric_limits<float>::infinity();
  const std::vector<float> scores{kNoNumber, -infinite, 2, kNoNumber, infinite, -1};
  EXPECT_THAT(ranked(scores, 3), ElementsAre(4, 2, 5));
  EXPECT_THAT(ranked(scores, 6), ElementsAre(4, 2, 5, 1, 0, 3));
}

TEST(RankScores, AgreesWithASort) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<float> scores(1 + random() % 200);
    const bool ties = random() % 2 == 0;
    for (float& score : scores) {
      score = ties ? static_cast<float>(random() % 7) : static_cast<float>(random()) - 2e9f;
      if (random() % 20 == 0) score = kNoNumber;
    }
    std::vector<std::uint32_t> sorted(scores.size());
    std::iota(sorted.begin(), sorted.end(), 0u);
    const auto key = [&](std::uint32_t i) {
      return std::pair(std::isnan(scores[i]), std::isnan(scores[i]) ? 0.0f : -scores[i]);
    };
    std::ranges::stable_sort(sorted, {}, key);
    sorted.resize(random() % (scores.size() + 1));
    ASSERT_EQ(ranked(scores, sorted.size()), sorted) << "trial " << trial;
  }
}

TEST(PopularityGate, RanksByShareAndForgets) {
  PopularityGate gate(kShape);
  for (int visit = 0; visit < 300; ++visit) learn(gate, 1, {4, visit % 3 == 0 ? 0u : 6u});
  ASSERT_TRUE(gate.predict({.layer = 0, .rows = 1}, 1));
  EXPECT_THAT(likeliest(gate, 0, 3), ElementsAre(4, 6, 0));
  EXPECT_NEAR(gate.uses(1)[4], 1 - std::pow(255.0 / 256, 300), 1e-4);
  EXPECT_NEAR(gate.uses(1)[6] / gate.uses(1)[0], 2, 0.05);
  // Other layers have seen nothing.
  EXPECT_THAT(gate.uses(0), testing::Each(0.0f));
  EXPECT_THAT(gate.uses(2), testing::Each(0.0f));

  // What was common once gives way to what is common now, and by then counts for little.
  for (int visit = 0; visit < 400; ++visit) learn(gate, 1, {7, 5});
  EXPECT_THAT(likeliest(gate, 0, 3), ElementsAre(5, 7, 4));
  EXPECT_LT(gate.uses(1)[4], 0.25f * gate.uses(1)[7]);
}

TEST(PopularityGate, LearnsFromEveryRow) {
  PopularityGate together(kShape), apart(kShape);
  learn(together, 0, {1, 2, 3, 1, 5, 2});
  for (const auto& row : std::vector<std::vector<std::uint32_t>>{{1, 2}, {3, 1}, {5, 2}}) {
    learn(apart, 0, row);
  }
  EXPECT_TRUE(std::ranges::equal(together.uses(0), apart.uses(0)));
}

TEST(LastChoiceGate, NamesWhatTheLastRowWantedInItsOrder) {
  LastChoiceGate gate(kShape);
  EXPECT_FALSE(gate.predict({.layer = 0, .rows = 1}, 1)) << "nothing was seen";
  for (int visit = 0; visit < 20; ++visit) learn(gate, 1, {2, 3});
  learn(gate, 1, {0, 1, 7, 5});  // two rows
  learn(gate, 2, {6, 4});
  ASSERT_TRUE(gate.predict({.layer = 0, .rows = 3}, 1));
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_THAT(likeliest(gate, row, 4), ElementsAre(7, 5, 2, 3)) << "then what is popular";
  }
  ASSERT_TRUE(gate.predict({.layer = 0, .rows = 1}, 2));
  EXPECT_THAT(likeliest(gate, 0, 2), ElementsAre(6, 4));
  EXPECT_FALSE(gate.predict({.layer = 0, .rows = 1}, 0));
}

/// Expert e of a layer is followed by 3 e + 1 of the next, whatever the token.
TEST(AffinityGate, LearnsAPermutationOfExperts) {
  const auto next = [](std::uint32_t expert) { return (3 * expert + 1) % kShape.experts; };
  for (const std::uint32_t ahead : {1u, 2u}) {
    SCOPED_TRACE(ahead);
    std::mt19937 random(7);
    AffinityGate gate(kShape, ahead);
    const auto draw = [&](std::size_t rows) {
      std::vector<std::uint32_t> chosen;
      for (std::size_t row = 0; row < rows; ++row) {
        chosen.push_back(random() % 8);
        chosen.push_back((chosen.back() + 1 + random() % 7) % 8);
      }
      return chosen;
    };
    const auto step = [&](std::vector<std::uint32_t> chosen) {
      std::ranges::transform(chosen, chosen.begin(), next);
      return chosen;
    };
    for (int pass = 0; pass < 400; ++pass) {
      const auto first = draw(1 + random() % 3);
      learn(gate, 0, first);
      learn(gate, 1, step(first));
      learn(gate, 2, step(step(first)));
    }
    const auto first = draw(5);
    const auto expected = ahead == 1 ? step(first) : step(step(first));
    ASSERT_TRUE(gate.predict({.layer = 0, .rows = 5, .chosen = first.data()}, ahead));
    for (std::size_t row = 0; row < 5; ++row) {
      EXPECT_THAT(likeliest(gate, row, 2),
                  testing::UnorderedElementsAre(expected[2 * row], expected[2 * row + 1]));
    }
    // It speaks of no other layer, and only where a choice is known.
    EXPECT_FALSE(gate.predict({.layer = 0, .rows = 5, .chosen = first.data()}, 3 - ahead));
    EXPECT_FALSE(gate.predict({.layer = 0, .rows = 5}, ahead));
  }
}

TEST(AffinityGate, FallsBackToWhatIsPopular) {
  AffinityGate gate(kShape, 1);
  const std::vector<std::uint32_t> seen{0, 1}, unseen{6, 7}, popular{5, 3};
  for (int pass = 0; pass < 50; ++pass) {
    learn(gate, 0, seen);
    learn(gate, 1, popular);
  }
  ASSERT_TRUE(gate.predict({.layer = 0, .rows = 1, .chosen = unseen.data()}, 1));
  EXPECT_THAT(likeliest(gate, 0, 2), ElementsAre(3, 5));
}

}  // namespace
}  // namespace sluice

// The order of the blocks, and that each is counted for what it was.

#include "apps/alternation.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace sluice::apps {
namespace {

/// "+--+-++-": what is foretold in the blocks of a round.
std::string round_of(Alternation& alternation, std::uint32_t blocks) {
  std::string order;
  for (std::uint32_t block = 0; block < blocks; ++block) {
    order += alternation.foretells(block) ? '+' : '-';
  }
  return order;
}

TEST(AlternationTest, FourBlocksAreOneOrderOrTheOpposite) {
  Alternation alternation(8, 1);
  std::set<std::string> begins;
  for (int round = 0; round < 20; ++round) {
    const std::string order = round_of(alternation, 14);
    for (std::size_t at = 0; at < order.size(); at += 4) {
      const std::string four = order.substr(at, 4);
      EXPECT_TRUE(std::string("+--+").starts_with(four) || std::string("-++-").starts_with(four))
          << order;
      begins.insert(four);
    }
  }
  EXPECT_EQ(begins, (std::set<std::string>{"+--+", "-++-", "+-", "-+"}));
}

TEST(AlternationTest, TheSeedSaysTheOrder) {
  Alternation one(8, 1), same(8, 1), other(8, 2);
  const std::string order = round_of(one, 256);
  EXPECT_EQ(round_of(same, 256), order);
  EXPECT_NE(round_of(other, 256), order);
}

TEST(AlternationTest, ARatioIsOfThePairThatStandsSideBySide) {
  Alternation alternation(8, 1);
  ExpertStatistics foretold, plain;
  foretold.requests = plain.requests = 10;
  foretold.expected = 3;
  foretold.wait_nanoseconds = 200'000'000;
  plain.wait_nanoseconds = 1'000'000'000;
  alternation.add(true, 1, foretold);
  alternation.add(false, 2, plain);  // twice as fast
  alternation.add(false, 4, plain);
  alternation.add(true, 8, foretold);  // half as fast
  EXPECT_EQ(alternation.ratio().pairs, 2u);
  EXPECT_NEAR(alternation.ratio().mean, 1, 1e-12);
  EXPECT_NEAR(alternation.with().median(), (8.0 + 1.0) / 2, 1e-12);
  EXPECT_NEAR(alternation.without().median(), (4.0 + 2.0) / 2, 1e-12);
  EXPECT_NEAR(alternation.with().waiting(), 0.4 / 9, 1e-12);
  EXPECT_NEAR(alternation.without().waiting(), 2.0 / 6, 1e-12);

  const nlohmann::json json = alternation.json();
  EXPECT_EQ(json["tokens"], 8);
  EXPECT_EQ(json["with"]["seconds"], 9.0);
  EXPECT_EQ(json["with"]["experts"]["expected"], 6);
  EXPECT_EQ(json["without"]["seconds"], 6.0);
  EXPECT_EQ(json["without"]["experts"]["expected"], 0);
  ASSERT_EQ(json["blocks"].size(), 4u);
  EXPECT_EQ(json["blocks"][3]["foretold"], true);
  EXPECT_EQ(json["blocks"][3]["seconds"], 8.0);
  EXPECT_EQ(json["blocks"][3]["experts"]["wait_ms"], 200.0);
}

TEST(AlternationTest, OnePairHasNoIntervalInJson) {
  Alternation alternation(8, 1);
  alternation.add(false, 2, {});
  alternation.add(true, 1, {});
  const nlohmann::json ratio = alternation.json()["ratio"];
  EXPECT_EQ(ratio["mean"], 2.0);
  EXPECT_TRUE(ratio["low"].is_null());
  EXPECT_TRUE(ratio["high"].is_null());
}

}  // namespace
}  // namespace sluice::apps

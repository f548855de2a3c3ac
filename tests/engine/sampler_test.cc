#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace sluice {
namespace {

const std::vector<float> kLogits{0.0f, 2.0f, 1.0f, -1.0f, 1.9f};

std::map<TokenId, int> draw(const SamplerOptions& options, int times,
                            std::vector<TokenId> history = {}) {
  Sampler sampler(options);
  std::map<TokenId, int> counts;
  for (int i = 0; i < times; ++i) ++counts[sampler.sample(kLogits, history)];
  return counts;
}

TEST(SamplerTest, GreedyTakesTheHighestAndTheLowerIdOfEquals) {
  EXPECT_EQ(draw({}, 10).begin()->first, 1);
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 7, 7, 1}, {}), 1);
}

TEST(SamplerTest, FrequenciesFollowTheSoftmax) {
  constexpr int kTimes = 200000;
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    const auto counts = draw({.temperature = temperature, .seed = 5}, kTimes);
    double sum = 0;
    for (const float logit : kLogits) sum += std::exp(logit / temperature);
    for (std::size_t i = 0; i < kLogits.size(); ++i) {
      const double p = std::exp(kLogits[i] / temperature) / sum;
      const double deviation = std::sqrt(p * (1 - p) / kTimes);
      EXPECT_NEAR(static_cast<double>(counts.at(static_cast<TokenId>(i))) / kTimes, p,
                  5 * deviation);
    }
  }
}

TEST(SamplerTest, TheSameSeedGivesTheSameTokens) {
  Sampler a({.temperature = 1, .seed = 9}), b({.temperature = 1, .seed = 9}),
      c({.temperature = 1, .seed = 10});
  std::vector<TokenId> from_a, from_b, from_c;
  for (int i = 0; i < 200; ++i) {
    from_a.push_back(a.sample(kLogits, {}));
    from_b.push_back(b.sample(kLogits, {}));
    from_c.push_back(c.sample(kLogits, {}));
  }
  EXPECT_EQ(from_a, from_b);
  EXPECT_NE(from_a, from_c);
}

TEST(SamplerTest, TopKKeepsTheBest) {
  const auto counts = draw({.temperature = 5, .top_k = 2}, 2000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(4));
}

TEST(SamplerTest, TopPKeepsTheShortestRunThatReachesIt) {
  // Probabilities: 0.39, 0.35, 0.14, 0.05, 0.02 of tokens 1, 4, 2, 0, 3.
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.3f}, 2000).size(), 1u);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.6f}, 2000).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.85f}, 5000).size(), 3u);
}

TEST(SamplerTest, MinPKeepsThoseNearTheBest) {
  // exp(1 - 2) = 0.37 of the best, exp(1.9 - 2) = 0.90.
  EXPECT_EQ(draw({.temperature = 1, .min_p = 0.5f}, 2000).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .min_p = 0.3f}, 2000).size(), 3u);
}

TEST(SamplerTest, RepeatPenaltyLowersRecentTokensOnce) {
  // 2.0 / 1.1 = 1.82 falls below 1.9; that the token occurs twice changes nothing.
  Sampler sampler({.repeat_penalty = 1.1f});
  EXPECT_EQ(sampler.sample(kLogits, std::vector<TokenId>{1, 1, 3}), 4);
  Sampler short_memory({.repeat_penalty = 1.1f, .repeat_window = 1});
  EXPECT_EQ(short_memory.sample(kLogits, std::vector<TokenId>{1, 1, 3}), 1);
}

}  // namespace
}  // namespace sluice

#include "layers/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace sluice {
namespace {

TEST(RouterTest, ChoosesTheBestAndWeighsThemBySoftmax) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 3);
  for (int round = 0; round < 200; ++round) {
    const RouterDescription router{.experts = 1 + static_cast<std::uint32_t>(random() % 64),
                                   .top_k = 1,
                                   .renormalise = round % 2 == 0,
                                   .scale = 1.5f};
    RouterDescription r = router;
    r.top_k = 1 + static_cast<std::uint32_t>(random() % r.experts);
    std::vector<float> logits(r.experts);
    for (float& logit : logits) logit = normal(random);

    std::vector<double> exact(r.experts);
    double sum = 0;
    for (std::size_t i = 0; i < exact.size(); ++i)
      sum += exact[i] = std::exp(static_cast<double>(logits[i]));
    std::vector<std::uint32_t> order(r.experts);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return logits[a] > logits[b]; });
    double chosen = 0;
    for (std::uint32_t i = 0; i < r.top_k; ++i) chosen += exact[order[i]] / sum;

    std::vector<std::uint32_t> ids(r.top_k);
    std::vector<float> weights(r.top_k);
    Router(r).choose(logits, nullptr, ids.data(), weights.data());
    for (std::uint32_t i = 0; i < r.top_k; ++i) {
      EXPECT_EQ(ids[i], order[i]);
      const double expected = exact[order[i]] / sum / (r.renormalise ? chosen : 1.0) * 1.5;
      EXPECT_NEAR(weights[i], expected, 1e-6 * expected + 1e-9);
    }
  }
}

TEST(RouterTest, EqualScoresGoToTheLowerId) {
  const RouterDescription router{.experts = 6, .top_k = 3};
  std::vector<float> logits{1, 5, 5, 0, 5, 5};
  std::uint32_t ids[3];
  float weights[3];
  Router(router).choose(logits, nullptr, ids, weights);
  EXPECT_EQ(ids[0], 1u);
  EXPECT_EQ(ids[1], 2u);
  EXPECT_EQ(ids[2], 4u);
}

TEST(RouterTest, LargeLogitsStayFinite) {
  const RouterDescription router{.experts = 3, .top_k = 2, .renormalise = true};
  std::vector<float> logits{1e30f, -1e30f, 1e30f};
  std::uint32_t ids[2];
  float weights[2];
  Router(router).choose(logits, nullptr, ids, weights);
  EXPECT_FLOAT_EQ(weights[0], 0.5f);
  EXPECT_FLOAT_EQ(weights[1], 0.5f);
}

}  // namespace
}  // namespace sluice

#include "cache/routing_paths.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace sluice {
namespace {

void visit(RoutingPaths& paths, const CacheShape& shape, std::uint32_t layer,
           std::initializer_list<std::uint16_t> experts) {
  paths.visit(layer);
  for (const std::uint16_t expert : experts) paths.touch(layer, shape.index({layer, expert, 0}));
}

TEST(RoutingPaths, ATokenThatHasBegunLikeAnEarlierOneGoesOnLikeIt) {
  const CacheShape shape({8, 8, 8});
  RoutingPaths paths(shape);
  const auto share = [&](std::uint32_t layer, std::uint16_t expert) {
    return paths.share(layer, shape.index({layer, expert, 0}));
  };
  for (int round = 0; round < 20; ++round) {  // two words, in turn
    for (std::uint16_t word = 0; word < 2; ++word) {
      for (std::uint32_t layer = 0; layer < 3; ++layer) {
        visit(paths, shape, layer, {word, static_cast<std::uint16_t>(word + 2 * layer + 2)});
      }
    }
  }
  visit(paths, shape, 0, {0, 2});
  for (const std::uint32_t layer : {1u, 2u}) {  // still to come in this token
    EXPECT_GT(share(layer, 0), 0.4f);
    EXPECT_GT(share(layer, static_cast<std::uint16_t>(2 * layer + 2)), 0.4f);
    EXPECT_EQ(share(layer, 1), 0);
    EXPECT_EQ(share(layer, 7), 0);
  }
  EXPECT_GT(share(0, 1), 0.4f);  // of the next token
  EXPECT_EQ(share(0, 0), 0);
}

TEST(RoutingPaths, NobodyVotesForATokenThatIsLikeNone) {
  const CacheShape shape({8, 8});
  RoutingPaths paths(shape);
  for (std::uint16_t token = 0; token < 4; ++token) {
    for (const std::uint32_t layer : {0u, 1u}) visit(paths, shape, layer, {token});
  }
  visit(paths, shape, 0, {7});
  for (std::uint32_t index = 0; index < shape.size(); ++index) {
    EXPECT_EQ(paths.share(index / 8, index), 0) << index;
  }
}

TEST(RoutingPaths, APrefillIsNoPath) {
  const CacheShape shape({32, 32});
  RoutingPaths paths(shape);
  for (const std::uint32_t layer : {0u, 1u}) {
    paths.visit(layer);
    for (std::uint32_t i = 0; i < 32; ++i) paths.touch(layer, shape.first(layer) + i);
  }
  visit(paths, shape, 0, {3});
  for (std::uint32_t i = 0; i < 32; ++i) EXPECT_EQ(paths.share(1, shape.first(1) + i), 0);
}

/// More tokens than are remembered: the ring comes round and forgets the oldest.
TEST(RoutingPaths, SharesStaySharesOverALongRun) {
  const CacheShape shape({64, 64, 64});
  RoutingPaths paths(shape);
  std::uint32_t state = 1;
  for (int token = 0; token < 2000; ++token) {
    for (std::uint32_t layer = 0; layer < 3; ++layer) {
      state = state * 1664525u + 1013904223u;
      visit(paths, shape, layer,
            {static_cast<std::uint16_t>(state >> 27),
             static_cast<std::uint16_t>(32 + (state >> 20) % 32)});
      for (std::uint32_t at = 0; at < 3; ++at) {
        float sum = 0;
        for (std::uint32_t i = shape.first(at); i < shape.first(at + 1); ++i) {
          ASSERT_GE(paths.share(at, i), 0);
          sum += paths.share(at, i);
        }
        ASSERT_LT(sum, 2.001f);  // two experts a token
      }
    }
  }
}

}  // namespace
}  // namespace sluice

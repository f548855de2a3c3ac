#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice {
namespace {

KvShape small() {
  return {.layers = 3, .kv_heads = 2, .head_dim = 32, .value_dim = 32, .type = KvType::kF16};
}

TEST(KvCacheTest, SequencesTakeDistinctBlocksAndGiveThemBack) {
  auto pool = KvPool::create(small(), 4);
  ASSERT_TRUE(pool.ok());
  {
    KvSequence a(*pool, 4 * kKvBlock), b(*pool, 4 * kKvBlock);
    ASSERT_TRUE(a.reserve(kKvBlock + 1).ok());  // two blocks
    ASSERT_TRUE(b.reserve(1).ok());
    EXPECT_EQ(pool->free_blocks(), 1u);
    std::set<const std::byte*> places;
    for (std::size_t layer = 0; layer < 3; ++layer) {
      for (const std::byte* place :
           {a.layer(layer).key_blocks[0], a.layer(layer).key_blocks[1],
            a.layer(layer).value_blocks[0], a.layer(layer).value_blocks[1],
            b.layer(layer).key_blocks[0], b.layer(layer).value_blocks[0]}) {
        EXPECT_TRUE(places.insert(place).second);
      }
    }
    // No two places are nearer than the vectors of a layer need.
    for (auto at = places.begin(), next = std::next(at); next != places.end(); ++at, ++next) {
      EXPECT_GE(*next - *at, static_cast<std::ptrdiff_t>(small().key_bytes()));
    }
  }
  EXPECT_EQ(pool->free_blocks(), 4u);
}

TEST(KvCacheTest, AnEmptyPoolIsAnErrorAndTruncationMakesRoom) {
  auto pool = KvPool::create(small(), 2);
  ASSERT_TRUE(pool.ok());
  KvSequence a(*pool, 8 * kKvBlock), b(*pool, 8 * kKvBlock);
  ASSERT_TRUE(a.reserve(2 * kKvBlock).ok());
  EXPECT_EQ(b.reserve(1).code(), ErrorCode::kBudget);
  a.truncate(kKvBlock);
  EXPECT_TRUE(b.reserve(1).ok());
}

TEST(KvCacheTest, PositionsBeyondTheContextAreRefused) {
  auto pool = KvPool::create(small(), 8);
  ASSERT_TRUE(pool.ok());
  KvSequence a(*pool, 100);
  EXPECT_TRUE(a.reserve(100).ok());
  EXPECT_EQ(a.reserve(3 * kKvBlock).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace sluice

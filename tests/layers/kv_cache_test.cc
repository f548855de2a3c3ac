#include "layers/kv_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <latch>
#include <set>
#include <thread>

namespace sluice {
namespace {

KvShape small() {
  const std::size_t vectors = 2 * kKvBlock * kv_vector_bytes(KvType::kF16, 32);
  KvShape shape;
  for (int layer = 0; layer < 3; ++layer) shape.add(vectors, vectors);
  shape.state_offsets.assign(3, 0);
  return shape;
}

TEST(KvCacheTest, SequencesTakeDistinctBlocksAndGiveThemBack) {
  auto pool = KvPool::create(small(), 4, 2);
  ASSERT_TRUE(pool.ok());
  {
    KvSequence a(*pool, 4 * kKvBlock), b(*pool, 4 * kKvBlock);
    ASSERT_TRUE(a.reserve(kKvBlock + 1).ok());  // two blocks
    ASSERT_TRUE(b.reserve(1).ok());
    EXPECT_EQ(pool->free_blocks(), 1u);
    std::set<const std::byte*> places;
    for (std::size_t layer = 0; layer < 3; ++layer) {
      const KvView of_a = a.layer(layer), of_b = b.layer(layer);
      for (const std::byte* block : {of_a.blocks[0], of_a.blocks[1], of_b.blocks[0]}) {
        EXPECT_TRUE(places.insert(block + of_a.keys).second);
        EXPECT_TRUE(places.insert(block + of_a.values).second);
      }
    }
    // No two places are nearer than the vectors of a layer need.
    for (auto at = places.begin(), next = std::next(at); next != places.end(); ++at, ++next) {
      EXPECT_GE(*next - *at, static_cast<std::ptrdiff_t>(small().layers[0].key_bytes));
    }
  }
  EXPECT_EQ(pool->free_blocks(), 4u);
}

/// Each writes its name into the blocks that it has, and finds it there.
TEST(KvCacheTest, SequencesOnDifferentThreadsNeverShareABlock) {
  constexpr std::size_t kThreads = 4, kBlocks = 6;
  std::latch begin(kThreads);
  auto pool = KvPool::create(small(), 2 * kBlocks, kThreads);
  ASSERT_TRUE(pool.ok());
  std::atomic<bool> shared = false;
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      KvSequence sequence(*pool, kBlocks * kKvBlock);
      begin.arrive_and_wait();
      for (std::size_t turn = 0; turn < 300000; ++turn) {
        const std::size_t wanted = 1 + (turn + thread) % kBlocks;
        if (!sequence.reserve(wanted * kKvBlock).ok()) {
          sequence.truncate(0);  // the others have the rest
          continue;
        }
        std::byte* const* const blocks = sequence.layer(0).blocks;
        for (std::size_t i = 0; i < wanted; ++i) std::memcpy(blocks[i], &thread, sizeof(thread));
        for (std::size_t i = 0; i < wanted; ++i) {
          if (std::memcmp(blocks[i], &thread, sizeof(thread)) != 0) shared = true;
        }
        sequence.truncate(turn % 2 * kKvBlock);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(shared);
  EXPECT_EQ(pool->free_blocks(), 2 * kBlocks);
}

TEST(KvCacheTest, AnEmptyPoolIsAnErrorAndTruncationMakesRoom) {
  auto pool = KvPool::create(small(), 2, 2);
  ASSERT_TRUE(pool.ok());
  KvSequence a(*pool, 8 * kKvBlock), b(*pool, 8 * kKvBlock);
  ASSERT_TRUE(a.reserve(2 * kKvBlock).ok());
  EXPECT_EQ(b.reserve(1).code(), ErrorCode::kBudget);
  a.truncate(kKvBlock);
  EXPECT_TRUE(b.reserve(1).ok());
}

TEST(KvCacheTest, PositionsBeyondTheContextAreRefused) {
  auto pool = KvPool::create(small(), 8, 1);
  ASSERT_TRUE(pool.ok());
  KvSequence a(*pool, 100);
  EXPECT_TRUE(a.reserve(100).ok());
  EXPECT_EQ(a.reserve(3 * kKvBlock).code(), ErrorCode::kInvalidArgument);
}

TEST(KvCacheTest, StatesGoBackToTheirCopyOrToTheBeginning) {
  KvShape shape = small();
  shape.layers[1] = {};
  shape.states_floats = 16;
  auto pool = KvPool::create(shape, 4, 1);
  ASSERT_TRUE(pool.ok());
  {
    KvSequence a(*pool, 100), b(*pool, 100);
    ASSERT_TRUE(a.reserve(10).ok());
    EXPECT_EQ(b.reserve(1).code(), ErrorCode::kBudget) << "one sequence's states are there";
    EXPECT_EQ(a.state(1)[0], 0.0f);
    a.state(1)[0] = 4;
    a.set_seen(4);
    a.keep_states();
    a.state(1)[0] = 9;
    a.set_seen(9);
    a.truncate(9);
    EXPECT_EQ(a.seen(), 9u) << "nothing is forgotten";
    a.truncate(6);
    EXPECT_EQ(a.seen(), 4u);
    EXPECT_EQ(a.state(1)[0], 4.0f);
    a.truncate(3);
    EXPECT_EQ(a.seen(), 0u);
    EXPECT_EQ(a.state(1)[0], 0.0f);
  }
  KvSequence c(*pool, 100);
  ASSERT_TRUE(c.reserve(1).ok()) << "given back";
  EXPECT_EQ(c.state(1)[0], 0.0f);
}

}  // namespace
}  // namespace sluice

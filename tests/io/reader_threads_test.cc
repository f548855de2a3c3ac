// The readers with several threads that submit, wait and poll at once.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/io/reader_kinds.h"
#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

using ReaderThreadsTest = test::EveryReader;
INSTANTIATE_TEST_SUITE_P(Readers, ReaderThreadsTest, testing::ValuesIn(test::reader_setups()),
                         test::setup_name);

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kSize = 1u << 20;
constexpr std::size_t kThreads = 4, kPerThread = 200, kAll = kThreads * kPerThread;

TEST_P(ReaderThreadsTest, EveryCompletionComesOnceToSomebody) {
  ReaderOptions options;
  options.depth = 8;
  options.piece_bytes = kBlock;
  remake(options);
  if (IsSkipped()) return;
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  constexpr std::size_t kBytes = 2 * kBlock;
  AlignedBuffer buffer = memory(kAll * kBytes);
  std::vector<std::atomic<int>> times(kAll);
  std::atomic<std::size_t> delivered = 0, failed = 0;
  const auto offset_of = [](std::size_t tag) { return tag * kBlock % (kSize - kBytes); };

  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::vector<ReadCompletion> completions(5);
      const auto take = [&](bool wait) {
        const std::size_t count = reader().reap(completions, wait);
        for (std::size_t i = 0; i < count; ++i) {
          ++times[completions[i].tag];
          if (!completions[i].status.ok()) ++failed;
        }
        delivered += count;
        return count;
      };
      for (std::size_t i = 0; i < kPerThread;) {
        std::vector<ReadRequest> batch;
        for (std::size_t n = 0; n < 1 + thread && i < kPerThread; ++n, ++i) {
          const std::size_t tag = thread * kPerThread + i;
          batch.push_back(
              {*opened, offset_of(tag), kBytes, kBytes, buffer.data() + tag * kBytes, tag});
        }
        if (!reader().submit(batch).ok()) ++failed;
        take(i % 3 == 0);
      }
      // Waiting ends for everybody when nothing is under way.
      while (take(true) > 0) {
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(delivered, kAll);
  EXPECT_EQ(failed, 0u);
  for (std::size_t tag = 0; tag < kAll; ++tag) {
    ASSERT_EQ(times[tag], 1) << tag;
    ASSERT_TRUE(test::matches({buffer.data() + tag * kBytes, kBytes}, offset_of(tag))) << tag;
  }
}

TEST_P(ReaderThreadsTest, ReadsOutliveTheThreadThatSubmittedThem) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(kSize);
  for (int round = 0; round < 10; ++round) {
    std::memset(buffer.data(), 0, kSize);
    std::thread([&] {
      std::vector<ReadRequest> requests;
      for (std::size_t i = 0; i < kSize / (16 * kBlock); ++i) {
        requests.push_back({*opened, i * 16 * kBlock, 16 * kBlock, 16 * kBlock,
                            buffer.data() + i * 16 * kBlock, i});
      }
      EXPECT_TRUE(reader().submit(requests).ok());
    }).join();
    std::vector<ReadCompletion> completions(3);
    while (const std::size_t count = reader().reap(completions, true)) {
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_TRUE(completions[i].status.ok()) << completions[i].status.message();
      }
    }
    ASSERT_TRUE(test::matches({buffer.data(), kSize}, 0));
  }
}

TEST_P(ReaderThreadsTest, OpeningAndAskingGoOnMeanwhile) {
  const test::TemporaryFile file(kSize);
  auto opened = reader().open(file.path());
  ASSERT_TRUE(opened.ok());
  AlignedBuffer buffer = memory(kSize);
  std::atomic<bool> stop = false;
  std::thread asker([&] {
    for (int i = 0; i < 100 && !stop; ++i) {
      auto another = reader().open(file.path());
      EXPECT_TRUE(another.ok());
      EXPECT_EQ(reader().file_size(*another), kSize);
      EXPECT_GE(reader().alignment(*another), 1u);
      static_cast<void>(reader().info());
      static_cast<void>(reader().counters());
    }
  });
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(read({*opened, 0, kSize, kSize, buffer.data(), 1}).ok());
  }
  stop = true;
  asker.join();
  EXPECT_TRUE(test::matches({buffer.data(), kSize}, 0));
}

}  // namespace
}  // namespace sluice

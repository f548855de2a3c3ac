#include "base/row_runs.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/canonical.h"

namespace sluice {
namespace {

TEST(RowRuns, RowsFollowOneAnotherInOneSequence) {
  std::byte* blocks[8] = {};
  const KvView a{blocks, 0, 8}, b{blocks + 1, 0, 8}, other_layer{blocks, 16, 24};
  const std::vector<AttentionRow> rows = {
      {a, 5},  {a, 6},     {a, 7, 2},  {a, 8, 1},           {a, 10}, {b, 11}, {b, 12},
      {a, 13}, {a, 14, 9}, {a, 13, 9}, {other_layer, 14, 9}};
  std::vector<std::size_t> counts;
  for (std::size_t row = 0; row < rows.size(); row += counts.back()) {
    const RowRun run = row_run(rows, row);
    EXPECT_EQ(run.first, row);
    counts.push_back(run.count);
  }
  EXPECT_EQ(counts, (std::vector<std::size_t>{3, 1, 1, 2, 2, 1, 1}));
}

TEST(RowRuns, BlocksAreCountedFromTheFirstThatIsSeen) {
  const auto seen = [](std::uint32_t first, std::uint32_t position) {
    const AttentionRow row{.kv = {}, .position = position, .first = first};
    return blocks_seen(row, row);
  };
  EXPECT_EQ(seen(0, 0), 1u);
  EXPECT_EQ(seen(0, kKvBlock), 2u);
  EXPECT_EQ(seen(kKvBlock - 1, kKvBlock), 2u);
  EXPECT_EQ(seen(kKvBlock, 2 * kKvBlock - 1), 1u);
}

TEST(RowRuns, WorkIsMadeForMoreButForLessThanTwiceAsManyBlocks) {
  std::size_t last = 0, sizes = 0;
  for (std::size_t seen = 1; seen <= 4097; ++seen) {
    const std::size_t made_for = blocks_made_for(seen);
    EXPECT_GE(made_for, std::max(seen, last));
    EXPECT_LE(made_for, 2 * seen);
    sizes += made_for != last ? 1 : 0;
    last = made_for;
  }
  EXPECT_EQ(sizes, 13u);
  EXPECT_EQ(last, 4097u);
}

}  // namespace
}  // namespace sluice

#include "cache/extent_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint64_t kPage = ExtentArena::kGranularity;

/// The plainest arena there is: a page is free or not.
class PageModel {
 public:
  explicit PageModel(std::size_t pages) : used_(pages) {}

  /// (start, length) of every free run.
  std::vector<std::pair<std::size_t, std::size_t>> free_runs() const {
    std::vector<std::pair<std::size_t, std::size_t>> runs;
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (used_[i]) continue;
      if (i > 0 && !used_[i - 1]) {
        runs.back().second += 1;
      } else {
        runs.push_back({i, 1});
      }
    }
    return runs;
  }
  /// Where the best fit starts, the lowest of equals; -1 if nothing fits.
  std::ptrdiff_t best_fit(std::size_t pages) const {
    std::ptrdiff_t best = -1;
    std::size_t length = used_.size() + 1;
    for (const auto& [start, run] : free_runs()) {
      if (run >= pages && run < length) {
        best = static_cast<std::ptrdiff_t>(start);
        length = run;
      }
    }
    return best;
  }
  void set(const Extent& extent, bool used) {
    for (std::uint64_t i = extent.offset / kPage; i < (extent.offset + extent.bytes) / kPage; ++i) {
      ASSERT_NE(used_[i], used) << "page " << i;
      used_[i] = used;
    }
  }
  std::size_t free_pages() const {
    return static_cast<std::size_t>(std::count(used_.begin(), used_.end(), false));
  }

 private:
  std::vector<bool> used_;
};

TEST(ExtentArena, AgreesWithAPageMapOnRandomTraffic) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const std::size_t pages = 1 + random() % 300;
    ExtentArena arena(pages * kPage + random() % kPage);
    PageModel model(pages);
    std::vector<Extent> held;
    for (int step = 0; step < 2000; ++step) {
      if (random() % 5 < 3) {
        const std::uint64_t bytes = 1 + random() % (20 * kPage);
        const auto extent = arena.allocate(bytes);
        const std::ptrdiff_t expected = model.best_fit((bytes + kPage - 1) / kPage);
        ASSERT_EQ(extent.has_value(), expected >= 0);
        if (!extent) continue;
        ASSERT_EQ(extent->offset, static_cast<std::uint64_t>(expected) * kPage);
        ASSERT_EQ(extent->bytes, ExtentArena::rounded(bytes));
        model.set(*extent, true);
        held.push_back(*extent);
      } else if (!held.empty()) {
        std::swap(held[random() % held.size()], held.back());
        model.set(held.back(), false);
        const std::uint64_t run = arena.released_run(held.back());
        arena.release(held.back());
        const auto first = held.back().offset / kPage;
        for (const auto& [start, length] : model.free_runs()) {
          if (start <= first && first < start + length) {
            ASSERT_EQ(run, length * kPage);
          }
        }
        held.pop_back();
      }
      ASSERT_EQ(arena.free_bytes(), model.free_pages() * kPage);
      std::size_t largest = 0;
      for (const auto& run : model.free_runs()) largest = std::max(largest, run.second);
      ASSERT_EQ(arena.largest_free(), largest * kPage);
    }
    for (const Extent& extent : held) arena.release(extent);
    EXPECT_EQ(arena.largest_free(), arena.capacity());
    EXPECT_EQ(arena.capacity(), pages * kPage);
  }
}

TEST(ExtentArena, RefusesWhatCannotFit) {
  ExtentArena arena(3 * kPage);
  EXPECT_FALSE(arena.allocate(3 * kPage + 1));
  EXPECT_FALSE(arena.allocate(~std::uint64_t{0}));
  EXPECT_TRUE(arena.allocate(3 * kPage));
  EXPECT_FALSE(arena.allocate(1));
  ExtentArena empty(kPage - 1);
  EXPECT_EQ(empty.capacity(), 0u);
  EXPECT_FALSE(empty.allocate(1));
}

}  // namespace
}  // namespace sluice

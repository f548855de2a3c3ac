#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include "tests/engine/fixture.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

class MemoryPlanTest : public testing::Test {
 protected:
  Result<ModelOutline> outline_ = ModelOutline::open(test::bundled_model());
  Result<std::unique_ptr<Runtime>> runtime_ =
      Runtime::create({.threads = 2, .reader = ReaderKind::kPread});

  void SetUp() override {
    ASSERT_TRUE(outline_.ok()) << outline_.status().message();
    ASSERT_TRUE(runtime_.ok()) << runtime_.status().message();
    ASSERT_TRUE(open_files(outline_->checkpoint, (*runtime_)->reader()).ok());
  }
  Result<MemoryPlan> plan(std::uint64_t ram, const ModelOptions& options = {}) {
    return outline_->plan(ram, **runtime_, options);
  }
};

TEST_F(MemoryPlanTest, TheMinimumIsWhatThePromiseAllows) {
  for (const std::uint32_t context : {64u, 512u, 2048u}) {
    const auto smallest = plan(0, {.context = context});
    ASSERT_TRUE(smallest.ok());
    const ExpertLayer& layer = outline_->catalogue.layers()[0];
    const std::uint64_t twice_k = 2 * outline_->description.router.top_k * layer.expert_bytes();
    EXPECT_LE(smallest->minimum, outline_->dense_bytes + smallest->kv + twice_k + 48 * kMiB);
    EXPECT_TRUE(plan(smallest->minimum, {.context = context}).ok());
    const auto refused = plan(smallest->minimum - 1, {.context = context});
    EXPECT_EQ(refused.status().code(), ErrorCode::kBudget);
    EXPECT_NE(refused.status().message().find(std::to_string(smallest->minimum)),
              std::string::npos);
  }
}

TEST_F(MemoryPlanTest, ManyThreadsWaitForMoreMemory) {
  auto many = Runtime::create({.threads = 64, .reader = ReaderKind::kPread});
  ASSERT_TRUE(many.ok());
  const auto smallest = outline_->plan(0, **many, {.context = 512});
  ASSERT_TRUE(smallest.ok());
  EXPECT_LE(smallest->minimum, plan(0, {.context = 512})->minimum + 8 * kMiB);
  EXPECT_LT(smallest->threads, 64u);
  unsigned before = 0;
  for (std::uint64_t ram = smallest->minimum; before < 64; ram += 16 * kMiB) {
    ASSERT_LT(ram, std::uint64_t{4} << 30) << "never all threads";
    const auto made = outline_->plan(ram, **many, {.context = 512});
    ASSERT_TRUE(made.ok());
    EXPECT_LE(made->total() + made->total() / 512, ram);
    EXPECT_GE(made->threads, before);
    before = made->threads;
  }
}

TEST_F(MemoryPlanTest, NoPlanExceedsItsBudget) {
  const std::uint64_t least = plan(0)->minimum;
  for (std::uint64_t ram = least; ram < least + 64 * kMiB; ram += 700 * 1024 + 13) {
    const auto made = plan(ram);
    ASSERT_TRUE(made.ok()) << made.status().message();
    EXPECT_LE(made->total() + made->total() / 512, ram);
    EXPECT_GT(made->rows, 0u);
  }
}

TEST_F(MemoryPlanTest, MoreMemoryNeverGivesAShorterContextOrASmallerCacheAtTheSameRows) {
  const std::uint64_t least = plan(0)->minimum;
  MemoryPlan before = *plan(least);
  for (std::uint64_t ram = least; ram < least + 64 * kMiB; ram += kMiB) {
    const MemoryPlan now = *plan(ram);
    EXPECT_GE(now.context, before.context);
    EXPECT_GE(now.rows, 1u);
    if (now.rows == before.rows && now.context == before.context) {
      EXPECT_GE(now.cache, before.cache);
    }
    before = now;
  }
}

TEST_F(MemoryPlanTest, PlentyHoldsEveryExpertAndNoMore) {
  const auto made = plan(std::uint64_t{8} << 30);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->cache, ExpertStore::full_capacity(outline_->catalogue, (*runtime_)->reader()));
  EXPECT_EQ(made->context, 2048u);
}

/// A model with many more experts than a small budget holds: the bundled one's, two hundred times.
TEST_F(MemoryPlanTest, PassesGrowUntilComputingTakesAsLongAsReading) {
  constexpr std::uint64_t kTimes = 200;
  for (auto& [name, tensor] : outline_->checkpoint.tensors) {
    if (name.find("_exps") == std::string::npos) continue;
    ASSERT_EQ(tensor.ranges.size(), 1u);
    tensor.shape[0] *= kTimes;
    tensor.ranges[0].bytes *= kTimes;
  }
  auto catalogue = ExpertCatalogue::build(outline_->checkpoint);
  ASSERT_TRUE(catalogue.ok()) << catalogue.status().message();
  outline_->catalogue = std::move(*catalogue);
  const std::uint64_t all = outline_->catalogue.total_bytes();

  const auto rows = [&](std::uint64_t ram, std::uint32_t context) {
    const auto made = plan(ram, {.context = context});
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? made->rows : 0;
  };
  EXPECT_GT(rows(all / 2, 8192), 512u);
  EXPECT_LE(rows(all / 2, 1024), 1024u);  // no wider than any prompt
  EXPECT_EQ(rows(2 * all, 8192), 512u);   // nothing to read twice
  // What is read for a row falls as there is more memory.
  for (std::uint64_t ram = all / 16; ram <= all; ram += all / 16) {
    const auto made = plan(ram, {.context = 8192});
    const auto more = plan(ram + all / 16, {.context = 8192});
    ASSERT_TRUE(made.ok() && more.ok());
    const auto read = [&](const MemoryPlan& of) {
      return static_cast<double>(all - std::min(all, of.cache)) / of.rows;
    };
    if (more->rows >= made->rows) {
      EXPECT_LE(read(*more), read(*made));
    }
  }
}

}  // namespace
}  // namespace sluice

#include <gtest/gtest.h>

#include "tests/experts/allocation_count.h"
#include "tests/experts/store_bench.h"

namespace sluice {
namespace {

TEST(SteadyState, ADecodeStepAllocatesNothing) {
  using test::Placement;
  const std::vector<test::FakeLayer> layers = {
      {0, 32}, {1, 32, {TensorType::kQ4_K, TensorType::kQ4_K, TensorType::kQ4_K}}, {2, 32}};
  for (const char* policy : {"decayed", "lru"}) {
    test::StoreBench bench(
        std::make_shared<test::FakeCheckpoint>(test::make_checkpoint(layers, Placement::kStacked)),
        512, 40 * 130000, policy);
    std::mt19937 random(8);
    std::array<std::uint32_t, 4> experts{};
    std::array<LikelyExpert, 4> likely{};
    std::uint64_t counted = 0;
    for (int pass = 0; pass < 300; ++pass) {
      for (const ExpertLayer& layer : bench.catalogue.layers()) {
        const auto first = static_cast<std::uint32_t>(random());
        for (std::uint32_t rank = 0; rank < 4; ++rank) {
          experts[rank] = (first + rank * 5) % 32;
          likely[rank] = {experts[rank], 1};
        }
        const std::uint64_t before = test::allocation_count();
        bool ok = bench.store->begin(layer.layer, experts).ok();
        bench.store->expect((layer.layer + 1) % 3, likely,
                            pass % 2 == 0 ? Reach::kGap : Reach::kAll);
        while (ok) {
          const auto ready = bench.store->ready();
          ok = ready.ok() && !ready->empty();
          if (!ok) break;
          ok = bench.store->prepare(*ready, bench.device).ok() && bench.store->release(*ready).ok();
        }
        bench.store->end();
        if (pass >= 100) counted += test::allocation_count() - before;
      }
    }
    EXPECT_EQ(counted, 0u) << policy;
    EXPECT_GT(bench.store->statistics().loads, 500u);
    EXPECT_GT(bench.store->statistics().hits, 500u);
    EXPECT_GT(bench.store->statistics().expected, 500u);
  }
}

}  // namespace
}  // namespace sluice

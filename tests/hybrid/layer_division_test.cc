#include "hybrid/layer_division.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace sluice {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

LayerOwner owner(std::uint64_t bytes, double speed = 1) {
  LayerOwner made{.bytes = bytes, .costs = {}};
  made.costs.cpu = CostCurve::roofline(20e9, 1e12, 2);
  made.costs.gpu = CostCurve::roofline(400e9 * speed, 1e14, 2);
  made.costs.gpu_start = 20e-6;
  return made;
}

constexpr LayerNeeds kNeeds{
    .dense_bytes = 20 * kMiB, .expert_bytes = 3 * kMiB, .experts = 128, .top_k = 8};

double seconds_of(std::span<const LayerOwner> owners, std::span<const std::uint32_t> division) {
  double all = 0;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    if (division[i] > 0) all += division[i] * layer_seconds(owners[i], division[i], kNeeds);
  }
  return all;
}

TEST(LayerDivision, EqualDevicesShareEqually) {
  const std::vector<LayerOwner> two(2, owner(6000 * kMiB));
  EXPECT_EQ(divide_layers(two, 48, kNeeds), (std::vector<std::uint32_t>{24, 24}));
  EXPECT_EQ(divide_layers({two.data(), 1}, 48, kNeeds), (std::vector<std::uint32_t>{48}));
}

TEST(LayerDivision, MoreMemoryHasMoreLayers) {
  const std::vector<LayerOwner> owners{owner(8000 * kMiB), owner(4000 * kMiB)};
  const auto division = divide_layers(owners, 48, kNeeds);
  EXPECT_EQ(division[0] + division[1], 48u);
  EXPECT_NEAR(division[0], 32, 2);
}

TEST(LayerDivision, WhereAllFitsTheFasterOneHasAll) {
  const std::vector<LayerOwner> owners{owner(100000 * kMiB), owner(100000 * kMiB, 4)};
  EXPECT_EQ(divide_layers(owners, 48, kNeeds), (std::vector<std::uint32_t>{0, 48}));
}

TEST(LayerDivision, NoOtherDivisionIsMuchFaster) {
  std::mt19937 engine(1);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<LayerOwner> owners;
    for (int i = 0; i < 3; ++i) {
      owners.push_back(
          owner((engine() % 9000) * kMiB, 0.2 + static_cast<double>(engine() % 30) / 10));
    }
    constexpr std::uint32_t kLayers = 14;
    const auto division = divide_layers(owners, kLayers, kNeeds);
    ASSERT_EQ(std::accumulate(division.begin(), division.end(), 0u), kLayers);
    double least = kNever;
    for (std::uint32_t a = 0; a <= kLayers; ++a) {
      for (std::uint32_t b = 0; a + b <= kLayers; ++b) {
        least = std::min(least, seconds_of(owners, std::array{a, b, kLayers - a - b}));
      }
    }
    EXPECT_LE(seconds_of(owners, division), 1.02 * least) << trial;
  }
}

}  // namespace
}  // namespace sluice

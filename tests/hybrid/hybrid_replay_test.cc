// Ways to use two processors, on machines that nobody has: the scheduler's has to be the best of
// all, whatever it is not told.

#include "hybrid/hybrid_replay.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/hybrid/drawn_layers.h"

namespace sluice {
namespace {

constexpr std::uint32_t kLayers = 8, kExperts = 48, kTopK = 4;

struct Visit {
  std::uint32_t layer;
  bool decode;
  std::vector<WantedRows> wanted;
};

/// Few experts are wanted often, and each layer's favourites change over time; now and then comes a
/// prompt.
std::vector<Visit> drawn_routing(std::uint64_t seed, std::size_t tokens) {
  test::Random random(seed);
  std::vector<std::vector<std::uint16_t>> order(kLayers);  // the favourite first
  for (auto& experts : order) {
    for (std::uint16_t i = 0; i < kExperts; ++i) experts.push_back(i);
    std::ranges::shuffle(experts, random);
  }
  std::vector<Visit> visits;
  for (std::size_t token = 0; token < tokens; ++token) {
    const std::size_t rows = token % 100 == 0 ? 64 : 1;
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<std::uint32_t> counts(kExperts);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::uint32_t rank = 0; rank < kTopK; ++rank) {
          const double place = std::pow(test::between(random, 0, 1), 2.5) * kExperts;
          counts[order[layer][static_cast<std::size_t>(place)]] += 1;
        }
      }
      Visit visit{layer, rows == 1, {}};
      for (std::uint16_t i = 0; i < kExperts; ++i) {
        if (counts[i] > 0)
          visit.wanted.push_back(
              {i, std::min<std::uint32_t>(counts[i], static_cast<std::uint32_t>(rows)), 0.25f});
      }
      visits.push_back(visit);
      if (random() % 20 == 0)
        std::swap(order[layer][random() % kExperts], order[layer][random() % kExperts]);
    }
  }
  return visits;
}

HybridReplay::Result run(const std::vector<Visit>& visits, const HybridMachine& machine,
                         double share, HybridMode mode, bool copies = true) {
  constexpr std::uint64_t kBytes = 3'000'000;
  const std::vector<std::uint32_t> experts(kLayers, kExperts);
  const std::size_t taught = visits.size() / 4;
  const bool caches = copies && (mode == HybridMode::kAuto || mode == HybridMode::kGpuOnly);
  HybridReplay replay(experts, std::vector<std::uint64_t>(kLayers, kBytes), machine, mode,
                      static_cast<std::uint64_t>(share * kLayers * kExperts) * kBytes,
                      caches ? make_cache_policy("learned", CacheShape(experts)).value() : nullptr,
                      visits.size() - taught);
  for (std::size_t i = 0; i < taught; ++i) replay.learn(visits[i].layer, visits[i].wanted);
  replay.begin();
  for (std::size_t i = taught; i < visits.size(); ++i)
    replay.visit(visits[i].layer, visits[i].decode, visits[i].wanted);
  return replay.result();
}

/// The least of what was the best without `auto`, over `auto`; and how far its times were off.
struct Worst {
  double ratio = kNever, off = 0;
};

Worst worst_of_drawn_machines(std::uint64_t seed, bool staged) {
  test::Random random(seed);
  const std::vector<Visit> visits = drawn_routing(1, 1200);
  Worst worst;
  for (int trial = 0; trial < 24; ++trial) {
    HybridMachine machine;
    machine.costs = test::drawn_costs(random, staged);
    machine.dense_seconds = test::log_between(random, 20e-6, 400e-6);
    machine.drift = test::between(random, 0.7, 1.6);
    const double share = std::array{0.1, 0.25, 0.5, 1.0}[trial % 4];
    const HybridReplay::Result chosen = run(visits, machine, share, HybridMode::kAuto);
    double best = run(visits, machine, share, HybridMode::kAuto, /*copies=*/false).seconds;
    for (const HybridMode mode :
         {HybridMode::kStatic, HybridMode::kGpuOnly, HybridMode::kCpuOnly}) {
      best = std::min(best, run(visits, machine, share, mode).seconds);
    }
    EXPECT_GE(best / chosen.seconds, 0.99) << "trial " << trial;
    EXPECT_LT(chosen.off, 0.1) << "trial " << trial;
    worst.ratio = std::min(worst.ratio, best / chosen.seconds);
    worst.off = std::max(worst.off, chosen.off);
  }
  return worst;
}

TEST(HybridReplay, AutoIsTheBestOfAllWaysOnEveryMachineThroughDrift) {
  const Worst worst = worst_of_drawn_machines(23, /*staged=*/false);
  RecordProperty("least", std::to_string(worst.ratio));
  RecordProperty("most_off", std::to_string(worst.off));
}

TEST(HybridReplay, AutoIsTheBestOfAllWaysWhereCopiesCostTheCpuTime) {
  const Worst worst = worst_of_drawn_machines(24, /*staged=*/true);
  RecordProperty("least", std::to_string(worst.ratio));
  RecordProperty("most_off", std::to_string(worst.off));
}

}  // namespace
}  // namespace sluice

// A device beside the CPU changes no bit, whatever is computed where and whenever it comes; what it
// has is not read from disk, and it never has more than it may.

#include "devices/hybrid_layer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/each_oracle.h"
#include "tests/engine/nested_models.h"

namespace sluice {
namespace {

using test::Conditions;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

const char* const kPlacements[] = {"auto", "gpu-only", "cpu-only", "static:9", "static:1000"};

Conditions with_device(Conditions conditions, std::string_view placement, std::uint64_t vram,
                       std::uint64_t seed) {
  conditions.device = FakeDeviceOptions{.seed = seed};
  // The CPU's times are of this machine: now the device is slower than it, now faster.
  const double factor = std::pow(10.0, -6.0 + static_cast<double>(seed % 4));
  conditions.device->seconds = [factor](const FfnTask&) { return factor; };
  conditions.device->upload_byte = factor * 1e-6;
  conditions.vram = vram;
  conditions.placement = parse_placement(placement).value();
  return conditions;
}

class HybridLayerTest : public testing::Test {
 protected:
  void expect_same(const Conditions& conditions) {
    auto opened = test::open(conditions);
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
    const auto statistics = opened.model->devices().statistics();
    if (!statistics) {
      EXPECT_TRUE(conditions.placement.mode == Placement::Mode::kCpuOnly ||
                  !opened.model->devices().unused().empty());
      return;
    }
    EXPECT_EQ(statistics->tier.closed, "");
    EXPECT_EQ(statistics->redone, 0u);
    seen_ += *statistics;
    const auto memory = opened.device().memory();
    EXPECT_LE(memory->total - memory->free, *conditions.vram);
  }

  struct Seen {
    std::uint64_t on_device = 0, found = 0, uploads = 0, uses = 0;
    void operator+=(const HybridStatistics& more) {
      on_device += more.on_device;
      found += more.found;
      uploads += more.tier.uploads;
      uses += more.uses;
    }
  } seen_;

  const std::vector<TokenId> tokens_ = test::some_tokens(40);
  const std::vector<float> reference_ = test::all_logits({.ram = kPlenty}, tokens_);
};

TEST_F(HybridLayerTest, EveryPlacementGivesTheSameBitsWithAnyMemory) {
  for (const char* const placement : kPlacements) {
    seen_ = {};
    for (const std::uint64_t vram : {kMiB / 4, kMiB, 3 * kMiB, 40 * kMiB}) {
      for (const std::uint32_t rows : {1u, 7u, 64u}) {
        for (const bool small : {false, true}) {
          const std::uint64_t seed = vram / kMiB + rows + small;
          SCOPED_TRACE(std::string(placement) + ", " + std::to_string(vram) + " bytes, " +
                       std::to_string(rows) + " rows");
          Conditions conditions =
              with_device({.ram = kPlenty, .threads = 2}, placement, vram, seed);
          conditions.model.max_rows = rows;
          if (small) conditions.ram = test::smallest_budget(conditions);
          expect_same(conditions);
        }
      }
    }
    const bool used = std::string_view(placement) != "cpu-only";
    EXPECT_EQ(seen_.on_device > 100, used) << placement;
    EXPECT_EQ(seen_.found > 100, used) << placement;
    EXPECT_EQ(seen_.uploads > 8, used) << placement;
  }
}

/// A device without kernels for these weights has nothing to do, and that is no failure.
TEST_F(HybridLayerTest, WhatTheDeviceCannotMultiplyIsTheCpus) {
  Conditions conditions = with_device({.ram = kPlenty}, "gpu-only", kPlenty, 1);
  conditions.device->multiplies = [](const WeightMatrix&) { return false; };
  auto opened = test::open(conditions);
  Session session(*opened.model);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  EXPECT_FALSE(opened.model->devices().statistics().has_value());
  EXPECT_NE(opened.model->devices().unused().find("multiplies"), std::string::npos)
      << opened.model->devices().unused();
}

TEST_F(HybridLayerTest, WhateverTheDeviceDoesFirst) {
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    Conditions conditions =
        with_device({.ram = kPlenty}, seed % 3 == 0 ? "gpu-only" : "auto", 2 * kMiB, seed);
    conditions.model.max_rows = 1 + static_cast<std::uint32_t>(seed % 5) * 4;
    expect_same(conditions);
  }
  EXPECT_GT(seen_.on_device, 1000u);
}

TEST_F(HybridLayerTest, InFloat32AndWithEveryPredictor) {
  for (const char* const placement : {"auto", "gpu-only"}) {
    Conditions plain{.ram = kPlenty};
    plain.model.compute_f32 = true;
    const std::vector<float> reference = test::all_logits(plain, tokens_);
    EXPECT_TRUE(test::same_bits(
        test::all_logits(with_device(plain, placement, 4 * kMiB, 2), tokens_), reference));
    for (const std::string& kind : GateForecast::kinds()) {
      Conditions conditions = with_device({}, placement, 4 * kMiB, 3);
      conditions.model.predict = kind;
      conditions.model.max_rows = 4;
      conditions.ram = test::smallest_budget(conditions) + kMiB;
      expect_same(conditions);
    }
  }
}

/// The point of the tier: its experts need no room in the host's memory, and no disk.
TEST_F(HybridLayerTest, WhatIsOnTheDeviceIsNotRead) {
  for (const char* const predict : {"off", "both"}) {
    Conditions conditions = with_device({}, "gpu-only", 200 * kMiB, 1);
    conditions.model.predict = predict;
    conditions.ram = test::smallest_budget(conditions);
    auto opened = test::open(conditions);
    {
      Session session(*opened.model);
      EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
    }
    const HybridStatistics first = *opened.model->devices().statistics();
    ASSERT_EQ(first.tier.closed, "");
    EXPECT_EQ(first.on_device, first.uses) << "all was meant to fit";
    const ExpertStatistics read = opened.model->expert_statistics();
    EXPECT_GT(read.loads, 0u);
    for (int again = 0; again < 3; ++again) {
      Session session(*opened.model);
      EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
    }
    const ExpertStatistics since = opened.model->expert_statistics() - read;
    EXPECT_EQ(since.requests, 0u) << predict;
    // Guesses are of others, which nobody has wanted yet.
    EXPECT_EQ(since.loads, since.expected) << predict;
    EXPECT_EQ(since.expected_rightly, 0u) << predict;
    EXPECT_EQ(since.loads > 0, std::string_view(predict) != "off");
    EXPECT_EQ(opened.model->devices().statistics()->tier.uploads, first.tier.uploads);
  }
}

/// A prompt's rows want more experts than memory holds: they pass through, and none is the CPU's.
TEST_F(HybridLayerTest, ExpertsPassThroughAMemoryThatDoesNotHoldThem) {
  const auto prompt = test::some_tokens(200, 5);
  const std::vector<float> expected = test::all_logits({.ram = kPlenty}, prompt);
  std::size_t passed = 0;
  for (std::uint64_t vram = kMiB; vram < 16 * kMiB; vram += kMiB) {
    SCOPED_TRACE(vram);
    Conditions conditions = with_device({.ram = kPlenty}, "gpu-only", vram, vram / kMiB);
    conditions.model.max_rows = 50;
    auto opened = test::open(conditions);
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, prompt), expected));
    const HybridStatistics device = opened.model->devices().statistics().value();
    EXPECT_EQ(device.tier.closed, "");
    // Some stay, and what does not is copied for each pass.
    const bool all = device.uses > 0 && device.on_device == device.uses;
    passed += all && device.tier.bytes > 2 * device.tier.capacity ? 1 : 0;
  }
  EXPECT_GE(passed, 3u);
}

TEST_F(HybridLayerTest, StaticStaysAsItIs) {
  Conditions conditions = with_device({.ram = kPlenty}, "static:12", 40 * kMiB, 1);
  conditions.model.max_rows = 1;
  auto opened = test::open(conditions);
  Session session(*opened.model);
  (void)test::all_logits(session, tokens_);
  EXPECT_EQ(opened.model->devices().statistics()->tier.uploads, 12u);
}

/// Importances need what every expert read: then the host computes all.
TEST_F(HybridLayerTest, WhoeverNeedsProductsHasThemOfEveryExpert) {
  struct Counter : RoutingObserver {
    void routed(const Routing& routing) override { wanted += routing.rows * routing.top_k; }
    void computed(std::uint32_t, std::uint32_t, const FfnTask& task) override {
      products += task.n_rows;
    }
    bool needs_products() const override { return true; }
    std::size_t wanted = 0, products = 0;
  } counter;
  auto opened = test::open(with_device({.ram = kPlenty}, "gpu-only", 40 * kMiB, 1));
  opened.model->observe_routing(counter);
  Session session(*opened.model);
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  EXPECT_GT(counter.wanted, 0u);
  EXPECT_EQ(counter.products, counter.wanted);
}

/// All families: biases, scaled inputs, shared experts, columns of another matrix between, FP8.
TEST(HybridOracles, EveryFamilyHasTheSameBits) {
  std::uint64_t on_device = 0;
  const auto visit = [&](const Conditions& conditions, const std::vector<TokenId>& tokens) {
    const std::vector<float> reference = test::all_logits(conditions, tokens);
    for (const char* const placement : {"auto", "gpu-only", "static:5"}) {
      for (const std::uint64_t vram : {kMiB / 2, 64 * kMiB}) {
        SCOPED_TRACE(placement);
        auto opened = test::open(with_device(conditions, placement, vram, vram / kMiB));
        Session session(*opened.model);
        EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens), reference));
        const auto statistics = opened.model->devices().statistics();
        if (!statistics) continue;
        EXPECT_EQ(statistics->tier.closed, "");
        on_device += statistics->on_device;
      }
    }
  };
  const std::size_t models = test::for_each_oracle(test::oracle_models(), 5, 16, visit);
  if (models == 0) GTEST_SKIP() << "there are no oracles here";
  EXPECT_GT(on_device, 100 * models);
}

class HybridNestedModel : public test::NestedModel {};

/// Planes, whole and in parts that come and go.
TEST_P(HybridNestedModel, PlanesHaveTheSameBitsAtEveryWidth) {
  const std::string store = pack(/*keep_floats=*/false);
  const auto tokens = test::some_tokens(24);
  for (const unsigned width : {kExactWidth, 3u, kAutoWidth}) {
    Conditions conditions{.ram = kPlenty, .path = store};
    conditions.model.width = width;
    conditions.model.calibration = "";
    if (width == kAutoWidth) conditions.model.narrow = 0.2f;
    const std::vector<float> reference = test::all_logits(conditions, tokens);
    for (const char* const placement : {"auto", "gpu-only", "static:30"}) {
      for (const std::uint32_t rows : {1u, 9u}) {
        for (const std::uint64_t vram : {kMiB, 40 * kMiB}) {
          SCOPED_TRACE(std::string(placement) + " width " + std::to_string(width));
          Conditions shared = with_device(conditions, placement, vram, rows);
          shared.model.max_rows = rows;
          // Dense parts there, too, as many as there is room for.
          if (rows > 1) shared.device_layers = std::nullopt;
          if (vram == kMiB) shared.ram = test::smallest_budget(shared);
          auto opened = test::open(shared);
          Session session(*opened.model);
          EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens), reference));
          if (vram > kMiB) {
            EXPECT_GT(opened.model->devices().statistics().value().on_device, 20u);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, HybridNestedModel, testing::ValuesIn(test::nested_sources()),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace sluice

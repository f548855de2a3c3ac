// A model's layers divided over several devices give the bits of one and of none; each keeps its
// own budget, and when one is lost the request goes on.

#include <gtest/gtest.h>

#include "tests/devices/thief.h"
#include "tests/engine/each_oracle.h"

namespace sluice {
namespace {

using test::Conditions;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

Conditions with_devices(Conditions conditions, std::size_t count, std::uint64_t vram) {
  FakeDeviceOptions device{.seed = 7};
  device.seconds = [](const FfnTask&) { return 1e-6; };
  conditions.device = device;
  for (std::size_t i = 1; i < count; ++i) {
    device.seed += 1;
    conditions.more_devices.push_back(device);
  }
  conditions.vram = vram;
  conditions.device_layers = std::nullopt;
  return conditions;
}

class SeveralDevicesTest : public testing::Test {
 protected:
  void expect_same(const test::Opened& opened) {
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  }
  const std::vector<TokenId> tokens_ = test::some_tokens(40);
  const std::vector<float> reference_ = test::all_logits({.ram = kPlenty}, tokens_);
};

TEST_F(SeveralDevicesTest, HaveTheBitsOfNoneAndKeepTheirBudgets) {
  for (const std::size_t count : {2u, 3u, 5u}) {
    for (const char* const placement : {"auto", "gpu-only", "static:4"}) {
      for (const std::uint64_t vram : {kMiB / 2, 3 * kMiB, 20 * kMiB}) {
        SCOPED_TRACE(std::to_string(count) + " devices, " + placement + ", " +
                     std::to_string(vram));
        Conditions conditions = with_devices({.ram = kPlenty}, count, vram);
        conditions.model.max_rows = 7;
        conditions.placement = parse_placement(placement).value();
        auto opened = test::open(conditions);
        expect_same(opened);
        EXPECT_EQ(opened.model->devices().dense_closed(), "");
        std::size_t used = 0;
        for (std::size_t i = 0; i < count; ++i) {
          const auto memory = opened.device(i).memory();
          ASSERT_TRUE(memory.ok());
          EXPECT_LE(memory->total - memory->free, vram);
          used += memory->total > memory->free ? 1 : 0;
        }
        if (vram == 3 * kMiB) {
          EXPECT_GE(used, 2u);
        }
      }
    }
  }
}

TEST_F(SeveralDevicesTest, OnlyTheLastLayersDensePartsWhereFewAreAsked) {
  for (std::uint32_t layers = 0; layers < 6; ++layers) {
    Conditions conditions = with_devices({.ram = kPlenty}, 2, 40 * kMiB);
    conditions.device_layers = layers;
    auto opened = test::open(conditions);
    expect_same(opened);
    const auto all = static_cast<std::uint32_t>(opened.model->description().layers.size());
    EXPECT_EQ(opened.model->devices().dense_layers(), std::min(layers, all));
  }
}

TEST_F(SeveralDevicesTest, AnyOfThemMayBeTakenAwayAtAnyTime) {
  std::size_t lost = 0;
  for (const std::size_t which : {0u, 1u, 2u}) {
    for (std::size_t n = 1; n < 24; n += 2) {
      SCOPED_TRACE(std::to_string(which) + " at " + std::to_string(n));
      Conditions conditions = with_devices({.ram = kPlenty}, 3, 6 * kMiB);
      conditions.model.max_rows = 9;
      conditions.model.sequences = 2;
      auto opened = test::open(conditions);
      test::Thief thief;
      thief.device = &opened.device(which);
      thief.left = n;
      // Another conversation has begun on the device, and goes on without it.
      Session before(*opened.model);
      const auto ignore = [](std::size_t, std::span<const float>) {};
      ASSERT_TRUE(before.eval(std::span(tokens_).first(11), Session::Logits::kNone, ignore).ok());
      opened.model->observe_routing(thief);
      expect_same(opened);
      opened.model->ignore_routing(thief);
      std::vector<float> rest;
      ASSERT_TRUE(before
                      .eval(std::span(tokens_).subspan(11), Session::Logits::kAll,
                            [&](std::size_t, std::span<const float> row) {
                              rest.insert(rest.end(), row.begin(), row.end());
                            })
                      .ok());
      EXPECT_TRUE(
          test::same_bits(rest, std::span(reference_).subspan(reference_.size() - rest.size())));
      lost += opened.model->devices().dense_open() ? 0 : 1;
    }
  }
  EXPECT_GT(lost, 10u);
}

TEST(SeveralDevicesOracles, EveryFamilyHasTheSameBits) {
  const auto visit = [&](const Conditions& conditions, const std::vector<TokenId>& tokens) {
    EXPECT_TRUE(test::same_bits(test::all_logits(with_devices(conditions, 2, 2 * kMiB), tokens),
                                test::all_logits(conditions, tokens)));
  };
  const std::size_t models = test::for_each_oracle(test::oracle_models(), 5, 16, visit);
  if (models == 0) GTEST_SKIP() << "there are no oracles here";
}

}  // namespace
}  // namespace sluice

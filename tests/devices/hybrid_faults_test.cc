// For every N: the Nth allocation, copy or kernel of a device fails, or the device is taken away
// when the Nth layer is routed. The request goes on with the right bits, and statistics say why the
// device is no longer used.

#include <gtest/gtest.h>

#include "tests/engine/fixture.h"

namespace sluice {
namespace {

using test::Conditions;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class HybridFaultsTest : public testing::TestWithParam<const char*> {
 protected:
  /// For one pass of two rows and two of one.
  Conditions conditions(FakeDeviceOptions device) const {
    Conditions conditions{.ram = std::uint64_t{1} << 30, .device = std::move(device)};
    conditions.vram = 16 * kMiB;
    conditions.placement = parse_placement(GetParam()).value();
    conditions.device->seconds = [](const FfnTask&) { return 1e-6; };
    return conditions;
  }
  static std::vector<float> logits(Model& model, const std::vector<TokenId>& tokens) {
    Session session(model);
    std::vector<float> all;
    for (std::size_t done = 0; done < tokens.size();) {
      const std::size_t count = done == 0 ? 2 : 1;
      const Status status =
          session.eval(std::span(tokens).subspan(done, count), Session::Logits::kAll,
                       [&](std::size_t, std::span<const float> row) {
                         all.insert(all.end(), row.begin(), row.end());
                       });
      EXPECT_TRUE(status.ok()) << status.message();
      if (!status.ok()) break;
      done += count;
    }
    return all;
  }

  const std::vector<TokenId> tokens_ = test::some_tokens(4);
  const std::vector<float> reference_ =
      test::all_logits(Conditions{.ram = std::uint64_t{1} << 30}, tokens_);
};

TEST_P(HybridFaultsTest, TheNthCopyOrKernelFails) {
  for (const auto failing :
       {&FakeDeviceOptions::failing_copy, &FakeDeviceOptions::failing_kernel}) {
    std::uint64_t redone = 0;
    bool closed = true;
    std::uint64_t n = 0;
    while (closed && n < 2000) {
      SCOPED_TRACE(++n);
      FakeDeviceOptions device{.seed = n};
      device.*failing = n;
      auto opened = test::open(conditions(device));
      EXPECT_TRUE(test::same_bits(logits(*opened.model, tokens_), reference_));
      const auto statistics = opened.model->devices().statistics();
      if (!statistics) {  // while it was set up
        EXPECT_NE(opened.model->devices().unused(), "");
        continue;
      }
      closed = !statistics->tier.closed.empty();
      redone += statistics->redone;
      if (closed && n % 8 == 0) {
        EXPECT_NE(statistics->tier.closed.find("failed"), std::string::npos)
            << statistics->tier.closed;
        // What is asked next is right, too.
        EXPECT_TRUE(test::same_bits(logits(*opened.model, tokens_), reference_));
      }
    }
    EXPECT_FALSE(closed) << "the last one was meant to be behind the run";
    EXPECT_GT(n, 10u);
    EXPECT_GT(redone, 10u);
  }
}

TEST_P(HybridFaultsTest, TheNthAllocationFailsAndTheTierIsSmallerOrNone) {
  for (std::uint64_t n = 1; n <= 6; ++n) {
    SCOPED_TRACE(n);
    FakeDeviceOptions device{};
    device.failing_allocation = n;
    auto opened = test::open(conditions(device));
    EXPECT_TRUE(test::same_bits(logits(*opened.model, tokens_), reference_));
    EXPECT_TRUE(opened.model->devices().statistics() || !opened.model->devices().unused().empty());
  }
}

/// Reads of a device that is taken away while a layer is under way: before its plan is made, …
TEST_P(HybridFaultsTest, TheDeviceIsTakenAwayAtTheNthLayer) {
  struct Thief : RoutingObserver {
    void routed(const Routing&) override {
      if (--left == 0) device->lose();
    }
    FakeDevice* device = nullptr;
    std::uint64_t left = 0;
  } thief;
  for (std::uint64_t n = 1; n <= 12; ++n) {
    SCOPED_TRACE(n);
    auto opened = test::open(conditions({.seed = n}));
    thief.device = &opened.device();
    thief.left = n;
    opened.model->observe_routing(thief);
    EXPECT_TRUE(test::same_bits(logits(*opened.model, tokens_), reference_));
    EXPECT_NE(opened.model->devices().statistics().value().tier.closed.find("taken away"),
              std::string::npos);
  }
}

/// … or while it computes.
TEST_P(HybridFaultsTest, TheDeviceIsTakenAwayWithinAKernel) {
  for (std::uint64_t n = 1; n <= 12; ++n) {
    SCOPED_TRACE(n);
    Conditions shared = conditions({.seed = n});
    test::Opened opened;
    std::uint64_t left = n;
    shared.device->seconds = [&](const FfnTask&) {
      if (opened.runtime != nullptr && --left == 0) opened.device().lose();
      return 1e-6;
    };
    opened = test::open(shared);
    EXPECT_TRUE(test::same_bits(logits(*opened.model, tokens_), reference_));
    EXPECT_FALSE(opened.model->devices().statistics().value().tier.closed.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Placements, HybridFaultsTest,
                         testing::Values("auto", "gpu-only", "static:200"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           for (char& letter : name) {
                             if (letter == '-' || letter == ':') letter = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace sluice

#include "base/canonical.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sluice {
namespace {

// Distance in units of the last place that a float32 nearest to `expected` has.
double error_in_ulps(float actual, double expected) {
  int exponent = 0;
  std::frexp(expected, &exponent);
  return std::fabs(actual - expected) / std::ldexp(1.0, exponent - 24);
}

// canonical.h's promise. Over all 543 million floats with 2^-26 <= |x| in range the worst is 1.011
// ulp (x = -5.87788); a stride that is coprime to every power of two looks at a part of each
// binade.
constexpr double kBound = 1.02;

TEST(CanonicalExpTest, StaysWithinItsBound) {
  constexpr std::uint32_t kStride = 211;
  double worst = 0;
  for (const float limit : {88.7f, -87.3f}) {
    const std::uint32_t sign = std::bit_cast<std::uint32_t>(limit) & 0x80000000u;
    const std::uint32_t last = std::bit_cast<std::uint32_t>(limit) & 0x7fffffffu;
    for (std::uint32_t bits = std::bit_cast<std::uint32_t>(0x1p-26f); bits <= last;
         bits += kStride) {
      const auto x = std::bit_cast<float>(bits | sign);
      const double error = error_in_ulps(canonical_exp(x), std::exp(static_cast<double>(x)));
      ASSERT_LE(error, kBound) << x;
      worst = std::max(worst, error);
    }
  }
  EXPECT_LE(error_in_ulps(canonical_exp(-0x1.782f42p+2f), std::exp(-0x1.782f42p+2)), kBound);
  // No such short polynomial gives the nearest float everywhere: less would mean a broken measure.
  EXPECT_GT(worst, 0.5);
}

TEST(CanonicalExpTest, KnowsItsLimits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(canonical_exp(0.0f), 1.0f);
  EXPECT_EQ(canonical_exp(-0.0f), 1.0f);
  EXPECT_EQ(canonical_exp(std::numeric_limits<float>::denorm_min()), 1.0f);
  EXPECT_EQ(canonical_exp(-0x1p-30f), 1.0f);
  EXPECT_EQ(canonical_exp(kInfinity), kInfinity);
  EXPECT_EQ(canonical_exp(-kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(canonical_exp(std::numeric_limits<float>::quiet_NaN())));

  EXPECT_LT(error_in_ulps(canonical_exp(88.7f), std::exp(static_cast<double>(88.7f))), kBound);
  EXPECT_EQ(canonical_exp(std::nextafter(88.7f, kInfinity)), kInfinity);
  // The smallest result is a normal number, so flushing subnormals, as some devices do, changes
  // nothing.
  EXPECT_GE(canonical_exp(-87.3f), std::numeric_limits<float>::min());
  EXPECT_EQ(canonical_exp(std::nextafter(-87.3f, -kInfinity)), 0.0f);
}

TEST(CanonicalSiluTest, FollowsItsDefinition) {
  for (float x = -80.0f; x <= 80.0f; x += 0.03125f) {
    const double expected = x / (1.0 + std::exp(-static_cast<double>(x)));
    if (x == 0) continue;
    ASSERT_LE(error_in_ulps(canonical_silu(x), expected), 3.0) << x;
  }
  EXPECT_EQ(canonical_silu(0.0f), 0.0f);
  EXPECT_EQ(canonical_silu(-100.0f), -0.0f);
  EXPECT_EQ(canonical_silu(100.0f), 100.0f);
}

TEST(CanonicalGeluTest, FollowsItsDefinitionIntoTheTail) {
  double worst = 0;
  for (float x = -12.5f; x <= 12.5f; x += 0.000213f) {
    const double expected = x * 0.5 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0));
    const double error = error_in_ulps(canonical_gelu(x), expected);
    ASSERT_LE(error, 7.0) << x;
    worst = std::max(worst, error);
  }
  EXPECT_GT(worst, 0.5);
  EXPECT_EQ(canonical_gelu(0.0f), 0.0f);
  EXPECT_TRUE(std::signbit(canonical_gelu(-0.0f)));
  EXPECT_EQ(canonical_gelu(1e30f), 1e30f);
  EXPECT_EQ(canonical_gelu(HUGE_VALF), HUGE_VALF);
  EXPECT_EQ(canonical_gelu(-HUGE_VALF), 0.0f);
  EXPECT_TRUE(std::isnan(canonical_gelu(NAN)));
}

TEST(CanonicalGeluTest, TanhFormFollowsItsDefinition) {
  for (float x = -12.5f; x <= 12.5f; x += 0.000213f) {
    const double u = std::sqrt(2.0 / M_PI) * (x + 0.044715 * std::pow(x, 3.0));
    const double expected = x / (1.0 + std::exp(-2.0 * u));  // 0.5 x (1 + tanh u)
    if (x > -4.0f) {
      ASSERT_NEAR(expected, 0.5 * x * (1.0 + std::tanh(u)), 1e-14);
    }
    if (2.0 * u < -87.0) continue;  // exp's end
    // Roundings of the argument are of its size.
    ASSERT_LE(error_in_ulps(canonical_gelu_tanh(x), expected), 4.0 + 4.0 * std::fabs(u)) << x;
  }
  EXPECT_EQ(canonical_gelu_tanh(1e30f), 1e30f);
  EXPECT_EQ(canonical_gelu_tanh(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(canonical_gelu_tanh(NAN)));
}

TEST(CanonicalSoftplusTest, FollowsItsDefinition) {
  for (float x = -80.0f; x <= 80.0f; x += 0.00113f) {
    const double expected = std::log1p(std::exp(-std::fabs(double{x}))) + std::max(double{x}, 0.0);
    ASSERT_LE(error_in_ulps(canonical_softplus(x), expected), 4.0) << x;
  }
  EXPECT_EQ(canonical_softplus(100.0f), 100.0f);
  EXPECT_EQ(canonical_softplus(-100.0f), 0.0f);
  EXPECT_TRUE(std::isnan(canonical_softplus(NAN)));
}

TEST(CanonicalActivationTest, ReluAndClampedSwiglu) {
  EXPECT_EQ(canonical_relu(-2.0f), 0.0f);
  EXPECT_EQ(canonical_relu(2.0f), 2.0f);
  EXPECT_TRUE(std::isnan(canonical_relu(NAN)));
  for (float gate = -12.0f; gate <= 12.0f; gate += 0.37f) {
    for (float up = -12.0f; up <= 12.0f; up += 0.41f) {
      const double g = std::min(double{gate}, 7.0);
      const double expected =
          g / (1.0 + std::exp(-double{1.702f} * g)) * (std::clamp(double{up}, -7.0, 7.0) + 1.0);
      ASSERT_NEAR(canonical_clamped_swiglu(gate, up, 1.702f, 7.0f), expected,
                  0x1p-24 * (8.0 + 2.0 * std::fabs(g)) * (std::fabs(expected) + std::fabs(g)));
    }
  }
  EXPECT_TRUE(std::isnan(canonical_clamped_swiglu(NAN, 1.0f, 1.0f, 7.0f)));
  EXPECT_TRUE(std::isnan(canonical_clamped_swiglu(1.0f, NAN, 1.0f, 7.0f)));
}

TEST(ReduceLanesTest, AddsByHalves) {
  float lanes[kFloatLanes];
  // 2^24 + 1 is not a float32, so another order gives another sum: here each 1 meets another 1
  // before the large lane.
  lanes[0] = 0x1p24f;
  for (std::size_t i = 1; i < kFloatLanes; ++i) lanes[i] = 1.0f;
  const float expected = [&] {
    float eight[8], four[4];
    for (int i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
    for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
  }();
  float in_order = 0;
  for (const float lane : lanes) in_order += lane;
  EXPECT_EQ(reduce_lanes(lanes), expected);
  EXPECT_NE(expected, in_order);
}

}  // namespace
}  // namespace sluice

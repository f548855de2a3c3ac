#include "layers/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace sluice {
namespace {

/// Frequencies as the YaRN paper's formulas give them, in double.
std::vector<double> reference(const RopeDescription& rope) {
  std::vector<double> frequencies;
  for (std::uint32_t i = 0; i < rope.rotary_dim / 2; ++i) {
    double frequency = std::pow(rope.base, -2.0 * i / rope.rotary_dim);
    if (rope.scaling == RopeScaling::kLinear) frequency /= rope.factor;
    if (rope.scaling == RopeScaling::kYarn) {
      const auto pair = [&](double turns) {
        return rope.rotary_dim * std::log(rope.original_context / (turns * 2 * std::numbers::pi)) /
               (2 * std::log(rope.base));
      };
      const auto end = [&](double exact, double rounded) {
        return rope.truncate ? rounded : exact;
      };
      const double fast = pair(rope.beta_fast), slow = pair(rope.beta_slow);
      const double low = std::max(0.0, end(fast, std::floor(fast)));
      const double high = std::min(rope.rotary_dim - 1.0, end(slow, std::ceil(slow)));
      const double ramp = std::min(1.0, std::max(0.0, (i - low) / (high - low)));
      frequency = frequency / rope.factor * ramp + frequency * (1 - ramp);
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

void expect_agrees(const RopeDescription& rope, double magnitude) {
  const RopeTable table(rope, 4096);
  const auto frequencies = reference(rope);
  ASSERT_EQ(table.pairs(), frequencies.size());
  const std::vector<std::uint32_t> positions{0, 1, 17, 4095};
  std::vector<float> cosines(positions.size() * table.pairs()), sines(cosines.size());
  table.fill(positions, cosines.data(), sines.data());
  for (std::size_t p = 0; p < positions.size(); ++p) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      // A float32 angle near 4096 is right to about 2.5e-4.
      const double tolerance = 1e-6 + positions[p] * 1.5e-7;
      EXPECT_NEAR(cosines[p * table.pairs() + i],
                  magnitude * std::cos(positions[p] * frequencies[i]), tolerance);
      EXPECT_NEAR(sines[p * table.pairs() + i], magnitude * std::sin(positions[p] * frequencies[i]),
                  tolerance);
    }
  }
}

TEST(RopeTableTest, Plain) { expect_agrees({.rotary_dim = 128, .base = 1e6}, 1); }
TEST(RopeTableTest, Linear) {
  expect_agrees({.rotary_dim = 64, .base = 1e4, .scaling = RopeScaling::kLinear, .factor = 4}, 1);
}
TEST(RopeTableTest, Yarn) {
  expect_agrees({.rotary_dim = 128,
                 .base = 1e6,
                 .scaling = RopeScaling::kYarn,
                 .factor = 4,
                 .original_context = 32768},
                1);
  expect_agrees({.rotary_dim = 64,
                 .base = 1e4,
                 .scaling = RopeScaling::kYarn,
                 .factor = 8,
                 .original_context = 4096,
                 .attention_factor = 1.25},
                1.25);
}

TEST(RopeTableTest, YarnWithoutRounding) {
  expect_agrees({.rotary_dim = 64,
                 .base = 1.5e5,
                 .scaling = RopeScaling::kYarn,
                 .factor = 32,
                 .original_context = 4096,
                 .truncate = false},
                1);
}

std::vector<float> angles(const RopeDescription& rope, std::size_t context) {
  const RopeTable table(rope, context);
  std::vector<float> cosines(table.pairs()), sines(table.pairs());
  const std::uint32_t position = 1;
  table.fill({&position, 1}, cosines.data(), sines.data());
  std::vector<float> all;
  for (std::size_t i = 0; i < table.pairs(); ++i) all.push_back(std::atan2(sines[i], cosines[i]));
  all.push_back(std::hypot(cosines[0], sines[0]));  // the magnitude
  return all;
}

TEST(RopeTableTest, LongRopesFactorsFollowTheOpenedContext) {
  const RopeDescription rope{.rotary_dim = 4,
                             .base = 100,
                             .scaling = RopeScaling::kLongRope,
                             .original_context = 32,
                             .attention_factor = 1.5,
                             .attention_factor_long = 2,
                             .factors = {1, 1.25},
                             .factors_long = {1, 4}};
  const auto shorter = angles(rope, 32), longer = angles(rope, 33);
  EXPECT_FLOAT_EQ(shorter[0], 1);
  EXPECT_FLOAT_EQ(longer[0], 1);
  EXPECT_FLOAT_EQ(shorter[1], 0.1f / 1.25f);
  EXPECT_FLOAT_EQ(longer[1], 0.1f / 4);
  EXPECT_FLOAT_EQ(shorter[2], 1.5f);
  EXPECT_FLOAT_EQ(longer[2], 2);
}

}  // namespace
}  // namespace sluice

#include "engine/rope_table.h"

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
      const double low = std::max(0.0, std::floor(pair(rope.beta_fast)));
      const double high = std::min(rope.rotary_dim - 1.0, std::ceil(pair(rope.beta_slow)));
      const double ramp = std::min(1.0, std::max(0.0, (i - low) / (high - low)));
      frequency = frequency / rope.factor * ramp + frequency * (1 - ramp);
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

void expect_agrees(const RopeDescription& rope, double magnitude) {
  const RopeTable table(rope);
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
                0.1 * std::log(4.0) + 1);
  expect_agrees({.rotary_dim = 64,
                 .base = 1e4,
                 .scaling = RopeScaling::kYarn,
                 .factor = 8,
                 .original_context = 4096,
                 .attention_factor = 1.25},
                1.25);
}

}  // namespace
}  // namespace sluice

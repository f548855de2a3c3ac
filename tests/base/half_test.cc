#include "base/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tests/base/python_oracle.h"

namespace sluice {
namespace {

// A 16-bit float's value from its definition, in double: sign, exponent of `exponent_bits`,
// mantissa.
double value_by_definition(std::uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                    : std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  return bits & 0x8000 ? -magnitude : magnitude;
}

// One of the two formats: how it is converted here, and its positive finite values followed by the
// power of two that rounding treats as infinity.
struct Format {
  int exponent_bits;
  float (*to_float)(std::uint16_t);
  std::uint16_t (*from_float)(float);

  std::uint16_t infinity() const {
    return static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << (15 - exponent_bits));
  }
  std::vector<double> magnitudes() const {
    std::vector<double> values;
    for (std::uint16_t bits = 0; bits <= infinity(); ++bits) {
      values.push_back(value_by_definition(bits, exponent_bits));
    }
    return values;
  }
};

constexpr Format kHalf{5, half_to_float, float_to_half};
constexpr Format kBf16{8, bf16_to_float, float_to_bf16};

// Nearest of `magnitudes` by comparing distances, ties to the even pattern.
std::uint16_t nearest(const std::vector<double>& magnitudes, float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const double magnitude = std::fabs(static_cast<double>(value));
  const auto above = std::ranges::lower_bound(magnitudes, magnitude);
  auto index = static_cast<std::size_t>(above - magnitudes.begin());
  if (index == magnitudes.size()) {
    --index;
  } else if (index > 0) {
    const double up = magnitudes[index] - magnitude;
    const double down = magnitude - magnitudes[index - 1];
    if (down < up || (down == up && index % 2 == 1)) --index;
  }
  return static_cast<std::uint16_t>(sign | index);
}

// Every midpoint between neighbours, the floats beside it, and random bit patterns, of either sign.
// No NaN.
std::vector<float> telling_floats(const std::vector<double>& magnitudes) {
  std::vector<float> floats = {0.0f, std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::denorm_min()};
  for (std::size_t i = 0; i + 1 < magnitudes.size(); ++i) {
    const auto middle = static_cast<float>((magnitudes[i] + magnitudes[i + 1]) / 2);
    floats.push_back(static_cast<float>(magnitudes[i]));
    floats.push_back(middle);
    floats.push_back(std::nextafter(middle, 0.0f));
    floats.push_back(std::nextafter(middle, std::numeric_limits<float>::infinity()));
  }
  std::mt19937 random(7);
  for (int i = 0; i < 100000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(value)) floats.push_back(value);
  }
  const std::size_t positive = floats.size();
  for (std::size_t i = 0; i < positive; ++i) floats.push_back(-floats[i]);
  return floats;
}

class HalfTest : public testing::TestWithParam<Format> {};

TEST_P(HalfTest, EveryPatternMeansItsValueAndComesBack) {
  const Format& format = GetParam();
  for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const auto bits = static_cast<std::uint16_t>(pattern);
    const float value = format.to_float(bits);
    const std::uint16_t magnitude = bits & 0x7fff;
    if (magnitude > format.infinity()) {
      ASSERT_TRUE(std::isnan(value)) << pattern;
      ASSERT_GT(format.from_float(value) & 0x7fff, format.infinity()) << pattern;
      continue;
    }
    if (magnitude == format.infinity()) {
      ASSERT_TRUE(std::isinf(value)) << pattern;
    } else {
      ASSERT_EQ(value, value_by_definition(bits, format.exponent_bits)) << pattern;
    }
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << pattern;
    ASSERT_EQ(format.from_float(value), bits);
  }
}

TEST_P(HalfTest, RoundsToNearestEven) {
  const Format& format = GetParam();
  const std::vector<double> magnitudes = format.magnitudes();
  for (const float value : telling_floats(magnitudes)) {
    ASSERT_EQ(format.from_float(value), nearest(magnitudes, value)) << value;
  }
}

TEST_P(HalfTest, EveryKindOfNanStaysNan) {
  const Format& format = GetParam();
  for (const std::uint32_t bits :
       {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    EXPECT_GT(format.from_float(std::bit_cast<float>(bits)) & 0x7fff, format.infinity()) << bits;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, HalfTest, testing::Values(kHalf, kBf16),
                         [](const auto& format) { return format.index == 0 ? "F16" : "BF16"; });

TEST(HalfOracleTest, AgreesWithNumpyAndGguf) {
  const auto interpreter = test::python();
  if (!interpreter) GTEST_SKIP() << "SLUICE_PYTHON is unset";
  const test::TemporaryFolder folder;
  const std::string floats_file = folder.path() / "floats";
  const std::string halves_file = folder.path() / "halves";
  const std::string bf16s_file = folder.path() / "bf16s";
  std::vector<float> floats = telling_floats(kHalf.magnitudes());
  std::ranges::copy(telling_floats(kBf16.magnitudes()), std::back_inserter(floats));
  test::write_values(floats_file, floats);
  ASSERT_EQ(test::run_python(*interpreter, "tests/base/half_oracle.py",
                             {floats_file, halves_file, bf16s_file}),
            0);
  const auto halves = test::read_values<std::uint16_t>(halves_file);
  const auto bf16s = test::read_values<std::uint16_t>(bf16s_file);
  ASSERT_EQ(halves.size(), floats.size());
  ASSERT_EQ(bf16s.size(), floats.size());
  for (std::size_t i = 0; i < floats.size(); ++i) {
    ASSERT_EQ(float_to_half(floats[i]), halves[i]) << floats[i];
    ASSERT_EQ(float_to_bf16(floats[i]), bf16s[i]) << floats[i];
  }
}

TEST(HalfTest, E4m3IsWhatItsDefinitionSays) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = f8_e4m3_to_float(static_cast<std::uint8_t>(bits));
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
    if (exponent == 15 && mantissa == 7) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, 1 - 7 - 3)
                                           : std::ldexp(mantissa + 8, exponent - 7 - 3);
    EXPECT_EQ(static_cast<double>(std::fabs(value)), magnitude) << bits;
  }
  EXPECT_EQ(f8_e4m3_to_float(0x7e), 448.0f);  // the largest
}

}  // namespace
}  // namespace sluice

// Quantisation and SiLU of every instruction set: bit for bit what base/canonical.h spells out.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/cpu/plain_dot.h"
#include "tests/cpu/tested_kernels.h"

namespace sluice::testing {
namespace {

struct Quantised {
  explicit Quantised(std::size_t columns)
      : codes(columns), scales(columns / 32), sums(columns / 16) {}
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int16_t> sums;
};

TEST(RowKernels, QuantiseByTheCanonicalRule) {
  std::mt19937 random(5);
  for (const std::size_t columns : {32, 64, 512, 1056}) {
    OwnedActivations want = random_activations(1, columns, true, random);
    for (const TestedKernels& tested : tested_kernels()) {
      SCOPED_TRACE(tested.name);
      Quantised got(columns);
      tested.kernels->quantise(want.values.data(), columns, got.codes.data(), got.scales.data(),
                               got.sums.data());
      EXPECT_EQ(got.codes, want.codes);
      EXPECT_EQ(got.scales, want.scales);
      EXPECT_EQ(got.sums, want.sums);
    }
  }
}

TEST(RowKernels, QuantiseTiesZerosAndExtremes) {
  std::vector<float> values(128);
  for (int i = 0; i < 32; ++i)
    values[i] = static_cast<float>(i) - 15.5f;  // ties where the scale is 1
  values[0] = 127.0f;
  for (int i = 64; i < 96; ++i) values[i] = i % 2 == 0 ? -3.4e38f : 1.0e-38f;  // [32, 64) are zeros
  for (int i = 96; i < 128; ++i) values[i] = static_cast<float>(i) * 1.0e-45f;
  std::vector<Quantised> results;
  for (const TestedKernels& tested : tested_kernels()) {
    SCOPED_TRACE(tested.name);
    Quantised got(values.size());
    tested.kernels->quantise(values.data(), values.size(), got.codes.data(), got.scales.data(),
                             got.sums.data());
    EXPECT_EQ(got.codes[0], 127);
    EXPECT_EQ(got.codes[1], -14);  // -14.5: to even
    EXPECT_EQ(got.codes[2], -14);  // -13.5
    EXPECT_EQ(got.codes[16], 0);   // 0.5
    EXPECT_EQ(got.codes[17], 2);   // 1.5
    EXPECT_EQ(got.scales[1], 0.0f);
    for (int i = 32; i < 64; ++i) EXPECT_EQ(got.codes[i], 0);
    EXPECT_EQ(got.codes[64], -127);
    EXPECT_EQ(got.sums[4], -127 * 8);
    for (const std::int8_t code : got.codes) EXPECT_GE(code, -127);
    results.push_back(got);
    EXPECT_EQ(got.codes, results.front().codes);
    EXPECT_EQ(got.scales, results.front().scales);
  }
}

TEST(RowKernels, SiluIsCanonicalAndNearTheTruth) {
  std::vector<float> gate, up;
  for (int i = -3000; i <= 3000; ++i) {
    gate.push_back(static_cast<float>(i) * 0.04f);
    up.push_back(1.0f + static_cast<float>(i % 7));
  }
  gate.push_back(std::numeric_limits<float>::infinity());
  gate.push_back(-0.0f);
  gate.push_back(1e30f);
  gate.push_back(-1e30f);
  up.resize(gate.size(), 1.0f);
  for (const TestedKernels& tested : tested_kernels()) {
    SCOPED_TRACE(tested.name);
    std::vector<float> out(gate.size());
    tested.kernels->silu_multiply(gate.data(), up.data(), out.data(), gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const float want = canonical_silu(gate[i]) * up[i];
      ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(want))
          << gate[i];
      if (std::fabs(gate[i]) > 80.0f) continue;
      const double exact = double{gate[i]} / (1.0 + std::exp(-double{gate[i]})) * double{up[i]};
      ASSERT_NEAR(static_cast<double>(out[i]), exact, std::fabs(exact) * 0x1p-20) << gate[i];
    }
  }
}

}  // namespace
}  // namespace sluice::testing

// Quantisation, activations and norms of every instruction set: bit for bit what base/canonical.h
// spells out.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
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

// A group with an element that is no number has no scale, wherever it is; infinity has none that is
// finite. The groups beside it are what they are without it.
TEST(RowKernels, QuantiseLosesNothingThatIsNotANumber) {
  std::mt19937 random(8);
  constexpr std::size_t kColumns = 96;
  const OwnedActivations plain = random_activations(1, kColumns, true, random);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const TestedKernels& tested : tested_kernels()) {
    for (std::size_t at = 32; at < 64; ++at) {
      for (const float wrong : {nan, -nan, kInfinity, -kInfinity}) {
        SCOPED_TRACE(tested.name + ", " + std::to_string(wrong) + " at " + std::to_string(at));
        std::vector<float> values = plain.values;
        values[at] = wrong;
        Quantised got(kColumns);
        tested.kernels->quantise(values.data(), kColumns, got.codes.data(), got.scales.data(),
                                 got.sums.data());
        EXPECT_EQ(std::isnan(got.scales[1]), std::isnan(wrong));
        EXPECT_FALSE(std::isfinite(got.scales[1]));
        for (const std::size_t other : {0, 2}) {
          EXPECT_EQ(got.scales[other], plain.scales[other]);
          EXPECT_EQ(std::memcmp(&got.codes[other * 32], &plain.codes[other * 32], 32), 0);
        }
      }
    }
  }
}

// Near the truth is for canonical_test.cc to say.
TEST(RowKernels, ActivationsAreCanonical) {
  struct Case {
    const char* name;
    Activation activation;
    float (*of)(float gate, float up);
  };
  const Case cases[] = {
      {"silu", Activation::kSilu, [](float g, float u) { return canonical_silu(g) * u; }},
      {"gelu_tanh", Activation::kGeluTanh,
       [](float g, float u) { return canonical_gelu_tanh(g) * u; }},
      {"gelu", Activation::kGelu, [](float g, float u) { return canonical_gelu(g) * u; }},
      {"relu", Activation::kRelu, [](float g, float u) { return canonical_relu(g) * u; }},
      {"clamped_swiglu", Activation::kClampedSwiglu,
       [](float g, float u) { return canonical_clamped_swiglu(g, u, 1.702f, 7.0f); }}};
  std::vector<float> gate, up;
  for (int i = -3000; i <= 3000; ++i) {
    gate.push_back(static_cast<float>(i) * (i % 3 == 0 ? 0.04f : 0.0031f));
    up.push_back(static_cast<float>(i % 7) * 3.3f - 9.0f);
  }
  for (const float edge : {std::numeric_limits<float>::infinity(), 0.0f, -0.0f, 1e30f, -1e30f,
                           13.5f, -13.5f, 1e-40f, std::numeric_limits<float>::quiet_NaN()}) {
    gate.push_back(edge);
  }
  up.resize(gate.size(), 1.0f);
  for (const Case& c : cases) {
    for (const TestedKernels& tested : tested_kernels()) {
      SCOPED_TRACE(std::string(c.name) + ", " + tested.name);
      std::vector<float> out(gate.size());
      tested.kernels->activate(c.activation, 1.702f, 7.0f, gate.data(), up.data(), out.data(),
                               gate.size());
      for (std::size_t i = 0; i < gate.size(); ++i) {
        const float want = c.of(gate[i], up[i]);
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(out[i])) << gate[i];
        } else {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(want))
              << gate[i] << ", " << up[i];
        }
      }
    }
  }
}

// norm_test.cc compares plain code's norms with the rule and with double precision.
TEST(RowKernels, NormsAgree) {
  std::mt19937 random(6);
  std::normal_distribution<float> normal(0.5f);
  const auto floats = [&](std::size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = normal(random);
    return values;
  };
  for (const std::size_t columns : {1, 37, 512, 2880}) {
    const auto x = floats(columns), weight = floats(columns), bias = floats(columns);
    for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
      for (const bool plain : {true, false}) {
        const NormTask task{.kind = kind,
                            .weight = plain ? nullptr : weight.data(),
                            .bias = plain ? nullptr : bias.data(),
                            .epsilon = 1e-5f,
                            .columns = columns};
        std::vector<float> want(columns);
        kernels_of(Isa::kGeneric).norm(task, x.data(), want.data());
        for (const TestedKernels& tested : tested_kernels()) {
          std::vector<float> out = x;
          tested.kernels->norm(task, out.data(), out.data());
          EXPECT_EQ(std::memcmp(out.data(), want.data(), columns * sizeof(float)), 0)
              << tested.name << ", " << columns;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::testing

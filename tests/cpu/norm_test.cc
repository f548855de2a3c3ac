#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kv_cache_fixture.h"

namespace sluice {
namespace {

using test::available_isas;
using test::compute_with;
using test::random_floats;

/// Rule 6, word for word.
std::vector<float> canonical_norm(const float* x, const float* weight, float eps, std::size_t n) {
  float sum = 0.0f;
  for (std::size_t segment = 0; segment < n; segment += kSegment) {
    float lanes[kFloatLanes] = {};
    for (std::size_t i = segment; i < std::min(n, segment + kSegment); ++i) {
      lanes[i % kFloatLanes] = std::fma(x[i], x[i], lanes[i % kFloatLanes]);
    }
    sum += reduce_lanes(lanes);
  }
  std::vector<float> out(n);
  const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * inverse * weight[i];
  return out;
}

TEST(RmsNorm, FollowsTheCanonicalOrderAndDoublePrecision) {
  for (const std::size_t columns : {1u, 15u, 64u, 128u, 511u, 512u, 530u, 2048u, 2880u, 5003u}) {
    const std::size_t rows = 40, x_stride = columns + 3, out_stride = columns + 8;
    const auto x = random_floats(rows * x_stride, 4.0f, 1);
    const auto weight = random_floats(columns, 1.0f, 2);
    for (const Isa isa : available_isas()) {
      for (const unsigned threads : {1u, 2u, 4u}) {
        const auto compute = compute_with(isa, threads);
        std::vector<float> out(rows * out_stride, 123.0f);
        compute->rms_norm(x.data(), x_stride, weight.data(), 1e-6f, out.data(), out_stride, rows,
                          columns);
        for (std::size_t row = 0; row < rows; ++row) {
          const float* from = &x[row * x_stride];
          const auto expected = canonical_norm(from, weight.data(), 1e-6f, columns);
          ASSERT_EQ(std::memcmp(&out[row * out_stride], expected.data(), columns * sizeof(float)),
                    0)
              << compute->name() << ", " << columns << " columns, row " << row;
          EXPECT_EQ(out[row * out_stride + columns], 123.0f);
          double sum = 0.0;
          for (std::size_t i = 0; i < columns; ++i) sum += double{from[i]} * double{from[i]};
          const double inverse =
              1.0 / std::sqrt(sum / static_cast<double>(columns) + double{1e-6f});
          // The sum's chain is at most kSegment / 16 + 4 + segments roundings, halved by the root;
          // six more follow.
          const double roundings =
              (36.0 + static_cast<double>(columns) / static_cast<double>(kSegment)) / 2.0 + 6.0;
          for (std::size_t i = 0; i < columns; ++i) {
            const double exact = double{from[i]} * inverse * double{weight[i]};
            ASSERT_NEAR(expected[i], exact, 0x1p-24 * roundings * std::fabs(exact) + 1e-44);
          }
        }
      }
    }
  }
}

TEST(RmsNorm, InPlace) {
  const auto x = random_floats(3 * 100, 1.0f, 1);
  const auto weight = random_floats(100, 1.0f, 2);
  for (const Isa isa : available_isas()) {
    auto out = x;
    compute_with(isa, 1)->rms_norm(out.data(), 100, weight.data(), 1e-5f, out.data(), 100, 3, 100);
    for (std::size_t row = 0; row < 3; ++row) {
      const auto expected = canonical_norm(&x[row * 100], weight.data(), 1e-5f, 100);
      EXPECT_EQ(std::memcmp(&out[row * 100], expected.data(), 100 * sizeof(float)), 0);
    }
  }
}

TEST(RmsNorm, ZerosStayZero) {
  std::vector<float> x(48, 0.0f), weight(48, 1.0f), out(48, 1.0f);
  for (const Isa isa : available_isas()) {
    compute_with(isa, 1)->rms_norm(x.data(), 48, weight.data(), 1e-6f, out.data(), 48, 1, 48);
    for (const float value : out) EXPECT_EQ(value, 0.0f);
  }
}

}  // namespace
}  // namespace sluice

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "kv_cache_fixture.h"

namespace sluice {
namespace {

using test::available_isas;
using test::compute_with;
using test::random_floats;

/// Rule 3's order of summation; squares go into the lanes with fma.
float canonical_sum(const float* x, std::size_t n, bool squares) {
  float sum = 0.0f;
  for (std::size_t segment = 0; segment < n; segment += kSegment) {
    float lanes[kFloatLanes] = {};
    for (std::size_t i = segment; i < std::min(n, segment + kSegment); ++i) {
      float& lane = lanes[i % kFloatLanes];
      lane = squares ? std::fma(x[i], x[i], lane) : lane + x[i];
    }
    sum += reduce_lanes(lanes);
  }
  return sum;
}

/// Rule 6, word for word, for a row of a task.
std::vector<float> canonical_norm(const NormTask& task, const float* x) {
  const std::size_t n = task.columns;
  std::vector<float> out(x, x + n);
  if (task.kind == NormKind::kLayer) {
    const float mean = canonical_sum(x, n, false) / static_cast<float>(n);
    for (float& value : out) value -= mean;
  }
  const float mean_square = canonical_sum(out.data(), n, true) / static_cast<float>(n);
  const float inverse = 1.0f / std::sqrt(mean_square + task.epsilon);
  for (std::size_t i = 0; i < n; ++i) {
    out[i] *= inverse;
    if (task.weight != nullptr) out[i] *= task.weight[i];
    if (task.bias != nullptr) out[i] += task.bias[i];
  }
  return out;
}

/// Roundings of a sum in rule 3's order: a chain of a segment, the lanes, the segments.
double roundings_of_sum(std::size_t n) {
  return 36.0 + static_cast<double>(n) / static_cast<double>(kSegment);
}

/// Compares an output row with double precision.
void expect_near_double(const NormTask& task, const float* x, const float* out) {
  const std::size_t n = task.columns;
  const auto count = static_cast<double>(n);
  double sum = 0.0, magnitude = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += double{x[i]};
    magnitude += std::fabs(double{x[i]});
  }
  const bool layer = task.kind == NormKind::kLayer;
  const double mean = layer ? sum / count : 0.0;
  // The mean's own error shifts every element, and the deviation with them.
  const double shift = layer ? 0x1p-24 * (roundings_of_sum(n) + 2.0) * magnitude / count : 0.0;
  for (std::size_t i = 0; i < n; ++i) squares += std::pow(double{x[i]} - mean, 2.0);
  const double inverse = 1.0 / std::sqrt(squares / count + double{task.epsilon});
  // The sum of squares is under a root, which halves its error; eight more roundings follow.
  const double relative =
      0x1p-24 * (roundings_of_sum(n) / 2.0 + 8.0) + 2.0 * shift * std::min(inverse, 1e3);
  for (std::size_t i = 0; i < n; ++i) {
    const double weight = task.weight != nullptr ? double{task.weight[i]} : 1.0;
    const double bias = task.bias != nullptr ? double{task.bias[i]} : 0.0;
    const double product = (double{x[i]} - mean) * inverse * weight;
    ASSERT_NEAR(out[i], product + bias,
                relative * std::fabs(product) + 2.0 * shift * inverse * std::fabs(weight) +
                    0x1p-24 * (std::fabs(product + bias) + std::fabs(mean * inverse * weight)) +
                    1e-44)
        << "column " << i;
  }
}

struct Case {
  const char* name;
  NormKind kind;
  bool weight, bias;
};
constexpr Case kCases[] = {{"rms", NormKind::kRms, true, false},
                           {"rms without weight", NormKind::kRms, false, false},
                           {"rms with bias", NormKind::kRms, true, true},
                           {"layer", NormKind::kLayer, true, true},
                           {"layer without either", NormKind::kLayer, false, false}};

TEST(Norm, FollowsTheCanonicalOrderAndDoublePrecision) {
  for (const std::size_t columns : {1u, 15u, 64u, 128u, 511u, 512u, 530u, 2880u, 5003u}) {
    constexpr std::size_t kRows = 40;
    auto x = random_floats(kRows * (columns + 3), 4.0f, 1);
    for (float& value : x) value += 1.0f;  // a mean to subtract
    const auto weight = random_floats(columns, 1.0f, 2);
    const auto bias = random_floats(columns, 1.0f, 3);
    for (const Case& c : kCases) {
      SCOPED_TRACE(std::string(c.name) + ", " + std::to_string(columns) + " columns");
      NormTask task{.kind = c.kind,
                    .x = x.data(),
                    .x_stride = columns + 3,
                    .weight = c.weight ? weight.data() : nullptr,
                    .bias = c.bias ? bias.data() : nullptr,
                    .epsilon = 1e-6f,
                    .out = nullptr,
                    .out_stride = columns + 8,
                    .rows = kRows,
                    .columns = columns};
      std::vector<float> want(kRows * columns);
      for (std::size_t row = 0; row < kRows; ++row) {
        const auto one = canonical_norm(task, &x[row * task.x_stride]);
        std::copy(one.begin(), one.end(), want.begin() + static_cast<long>(row * columns));
        expect_near_double(task, &x[row * task.x_stride], one.data());
      }
      for (const Isa isa : available_isas()) {
        for (const unsigned threads : {1u, 2u, 4u}) {
          const auto compute = compute_with(isa, threads);
          std::vector<float> out(kRows * task.out_stride, 123.0f);
          task.out = out.data();
          compute->norm(task);
          for (std::size_t row = 0; row < kRows; ++row) {
            const float* from = &out[row * task.out_stride];
            ASSERT_EQ(std::memcmp(from, &want[row * columns], columns * sizeof(float)), 0)
                << compute->name() << ", row " << row;
            EXPECT_EQ(from[columns], 123.0f);
          }
        }
      }
    }
  }
}

TEST(Norm, InPlace) {
  const auto x = random_floats(3 * 100, 1.0f, 1);
  const auto weight = random_floats(100, 1.0f, 2);
  for (const Case& c : kCases) {
    for (const Isa isa : available_isas()) {
      auto out = x;
      const NormTask task{.kind = c.kind,
                          .x = out.data(),
                          .x_stride = 100,
                          .weight = c.weight ? weight.data() : nullptr,
                          .bias = c.bias ? weight.data() : nullptr,
                          .epsilon = 1e-5f,
                          .out = out.data(),
                          .out_stride = 100,
                          .rows = 3,
                          .columns = 100};
      compute_with(isa, 1)->norm(task);
      for (std::size_t row = 0; row < 3; ++row) {
        const auto expected = canonical_norm(task, &x[row * 100]);
        EXPECT_EQ(std::memcmp(&out[row * 100], expected.data(), 100 * sizeof(float)), 0) << c.name;
      }
    }
  }
}

TEST(Norm, WhatIsAllTheSameBecomesZero) {
  for (const float value : {0.0f, 3.0f}) {
    std::vector<float> x(48, value), out(48, 1.0f);
    for (const Isa isa : available_isas()) {
      compute_with(isa, 1)->norm({.kind = value == 0.0f ? NormKind::kRms : NormKind::kLayer,
                                  .x = x.data(),
                                  .x_stride = 48,
                                  .epsilon = 1e-6f,
                                  .out = out.data(),
                                  .out_stride = 48,
                                  .rows = 1,
                                  .columns = 48});
      for (const float result : out) EXPECT_EQ(result, 0.0f);
    }
  }
}

}  // namespace
}  // namespace sluice

// What each width of a form is said to err typically is what it errs of normally distributed
// weights.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "base/nested_error.h"
#include "base/nested_stand.h"
#include "store/nested_fit.h"

namespace sluice {
namespace {

constexpr std::size_t kRows = 96, kColumns = 512;

/// What a source makes of so many neighbours: codes as their form counts them, in whose numbers'
/// units `scale` is.
struct Group {
  std::vector<std::uint8_t> codes;
  float scale = 0;
};

float largest(std::span<const float> weights) {
  return *std::ranges::max_element(weights,
                                   [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

std::uint8_t rounded(double number, int most) {
  return static_cast<std::uint8_t>(std::clamp(static_cast<int>(std::lround(number)), 0, most));
}

/// Rounded to nearest, as scales that reach the largest weight ask for.
Group quantised(TensorType type, std::span<const float> weights) {
  const float most = largest(weights);
  Group group;
  if (type == TensorType::kMXFP4) {
    // Numbers are halves; a power of two brings the largest weight to 4 … 8.
    group.scale = std::ldexp(1.0f, static_cast<int>(std::floor(std::log2(std::fabs(most)))) - 3);
    const std::int8_t* const book = nested_form_of(type)->book;
    for (const float weight : weights) {
      const auto farther = [&](std::int8_t a, std::int8_t b) {
        return std::fabs(weight / group.scale - a) < std::fabs(weight / group.scale - b);
      };
      group.codes.push_back(
          static_cast<std::uint8_t>(std::min_element(book, book + 16, farther) - book));
    }
    return group;
  }
  double zero = 0;  // the code of 0
  int last = 255;
  if (type == TensorType::kQ8_0) {
    group.scale = std::fabs(most) / 127;
    zero = 128;
  } else if (type == TensorType::kQ4_0) {
    group.scale = most / -8;
    zero = 8, last = 15;
  } else if (type == TensorType::kQ6_K) {
    group.scale = most / -32;
    zero = 32, last = 63;
  } else {
    const auto [low, high] = std::ranges::minmax(weights);
    const float minimum = std::max(0.0f, -low);
    group.scale = (high + minimum) / 15;
    zero = double{minimum} / group.scale, last = 15;
  }
  for (const float weight : weights) {
    group.codes.push_back(rounded(weight / group.scale + zero, last));
  }
  return group;
}

class TypicalErrors : public testing::TestWithParam<std::string_view> {};

TEST_P(TypicalErrors, AreThoseOfNormallyDistributedWeights) {
  const NestedForm& form = *find_nested_form(GetParam());
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> weights(kRows * kColumns);
  for (float& weight : weights) weight = normal(random);
  NestedMatrix made;
  std::vector<double> scales;  // of each weight
  if (form.fitted) {
    ASSERT_TRUE(fit_nested(weights, kRows, kColumns, {}, made).ok());
    for (std::size_t i = 0; i < weights.size(); ++i) {
      scales.push_back(nested_scale(made.scales[i / 32], made.header.exponent_base));
    }
  } else {
    const std::size_t group = form.format().group;
    std::vector<std::uint8_t> codes;
    std::vector<float> of_groups;
    for (std::size_t i = 0; i < weights.size(); i += group) {
      const Group part = quantised(form.source, std::span(weights).subspan(i, group));
      codes.insert(codes.end(), part.codes.begin(), part.codes.end());
      of_groups.push_back(part.scale);
      scales.insert(scales.end(), group, double{part.scale});
    }
    ASSERT_TRUE(nest_codes(form, codes, of_groups, kRows, kColumns, {}, made).ok());
  }
  double all = 0;
  for (const float weight : weights) all += double{weight} * weight;
  for (std::size_t groups = 1; groups <= form.group_count; ++groups) {
    const unsigned width = form.width(groups);
    double missing = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const unsigned code = made.codes[i];
      const double at_width =
          twice_nested_stand(form, made.header, width, code >> (form.bits - width));
      const double right = twice_nested_stand(form, made.header, form.bits, code);
      const double difference = scales[i] * (at_width - right) / 2 / form.steps;
      missing += difference * difference;
    }
    const double error = std::sqrt(missing / all);
    EXPECT_NEAR(typical_nested_error(form, groups), error, 0.03 * error) << width << " bits";
  }
}

std::vector<std::string_view> names() {
  std::vector<std::string_view> names;
  for (const NestedForm& form : nested_forms()) names.push_back(form.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Forms, TypicalErrors, testing::ValuesIn(names()),
                         [](const auto& form) { return std::string(form.param); });

}  // namespace
}  // namespace sluice

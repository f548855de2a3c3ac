#include "store/nested_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "exhaustive_fit.h"

namespace sluice {
namespace {

using test::ExhaustiveFit;
using testing::Each;
using testing::HasSubstr;

constexpr std::array<unsigned, 6> kWidths = {2, 3, 4, 5, 6, 8};

const NestedForm& fitted_form() { return *nested_form_of(TensorType::kF32); }
const NestedForm& eight_bits() { return *nested_form_of(TensorType::kQ8_0); }
const NestedForm& four_bits() { return *nested_form_of(TensorType::kQ4_0); }

struct Matrix {
  std::size_t rows, columns;
  std::vector<float> weights, importance;
};

/// Weights that `draw` gives; the importance is log-normal.
template <typename Draw>
Matrix draw_matrix(std::size_t rows, std::size_t columns, const Draw& draw) {
  std::mt19937 random(static_cast<unsigned>(rows * 31 + columns));
  Matrix matrix{rows, columns, {}, {}};
  for (std::size_t i = 0; i < rows * columns; ++i) {
    matrix.weights.push_back(static_cast<float>(draw(random, i)));
  }
  std::lognormal_distribution<float> importance(0, 1);
  for (std::size_t i = 0; i < columns; ++i) matrix.importance.push_back(importance(random));
  return matrix;
}

Matrix normal_matrix(std::size_t rows = 12, std::size_t columns = 128) {
  return draw_matrix(rows, columns, [](std::mt19937& random, std::size_t) {
    return std::normal_distribution<double>(0, 0.02)(random);
  });
}

NestedMatrix fitted(const Matrix& matrix) {
  NestedMatrix out;
  const Status status =
      fit_nested(matrix.weights, matrix.rows, matrix.columns, matrix.importance, out);
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
}

/// base/nested_planes.h's definition, written out. `scales`: the source's, of a form that is not
/// fitted.
std::vector<float> decoded(const NestedMatrix& matrix, std::span<const float> scales,
                           unsigned width) {
  const bool own = matrix.form->fitted, small = matrix.form->bits == 4;
  std::vector<float> out;
  for (std::size_t i = 0; i < matrix.codes.size(); ++i) {
    const int prefix = matrix.codes[i] >> (matrix.form->bits - width);
    double stand = 0;
    if (width == 2) {
      stand = matrix.header.two[prefix] / (small ? 16.0 : 1.0);
    } else if (width == 3) {
      stand = matrix.header.three[prefix] / (small ? 16.0 : 1.0);
    } else if (small) {
      stand = prefix - 8;
    } else if (width == 4) {
      stand = matrix.header.four[prefix];
    } else {
      const int shared = 1 << (8 - width);
      stand = prefix * shared - 128 + (own ? shared : shared - 1) / 2.0;
    }
    const int byte = own ? matrix.scales[i / 32] : 0;
    const double scale =
        own ? std::ldexp(1 + byte % 8 / 8.0, byte / 8 + matrix.header.exponent_base - 127)
            : double{scales[i / 32]};
    out.push_back(static_cast<float>(scale * (stand + (small ? 1 : 8) * matrix.offsets[i / 32])));
  }
  return out;
}

/// sum(importance * (w - decoded)^2) / sum(importance * w^2).
double relative_error(const Matrix& matrix, const std::vector<float>& values) {
  double error = 0, whole = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double counts = matrix.importance.empty() ? 1 : matrix.importance[i % matrix.columns];
    const double weight = matrix.weights[i], difference = weight - values[i];
    error += counts * difference * difference;
    whole += counts * weight * weight;
  }
  return error / whole;
}

double relative_error(const Matrix& matrix, const NestedMatrix& nested, unsigned width) {
  return relative_error(matrix, decoded(nested, {}, width));
}

void expect_same(const NestedMatrix& a, const NestedMatrix& b) {
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(std::memcmp(a.header.four, b.header.four, sizeof(a.header.four)), 0);
  EXPECT_EQ(std::memcmp(a.header.three, b.header.three, sizeof(a.header.three)), 0);
  EXPECT_EQ(std::memcmp(a.header.two, b.header.two, sizeof(a.header.two)), 0);
}

// What the fitter leaves out of its search costs 2 % of the error at most.
void expect_as_good(const Matrix& matrix, const std::vector<double>& errors,
                    const ExhaustiveFit& oracle, const std::string& name) {
  const std::vector<unsigned>& widths = oracle.widths();
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const double best = relative_error(matrix, oracle.decoded(widths[i]));
    EXPECT_LE(errors[i], 1.02 * best) << name << " at " << widths[i];
  }
}

TEST(FitNestedTest, ErrsAsLittleAsAnExhaustiveSearch) {
  const auto check = [](const char* name, const Matrix& matrix) {
    const ExhaustiveFit oracle(
        test::float_source(matrix.weights, matrix.columns, matrix.importance));
    const NestedMatrix nested = fitted(matrix);
    std::vector<double> errors;
    for (const unsigned width : oracle.widths()) {
      errors.push_back(relative_error(matrix, nested, width));
    }
    expect_as_good(matrix, errors, oracle, name);
  };
  check("normal", normal_matrix());
  check("heavy tails", draw_matrix(12, 128, [](std::mt19937& random, std::size_t) {
          return std::student_t_distribution<double>(3)(random);
        }));
  check("blocks of unlike sizes", draw_matrix(12, 96, [](std::mt19937& random, std::size_t i) {
          return std::normal_distribution<double>(0, std::pow(10.0, i / 32 % 5))(random);
        }));
  check("to one side", draw_matrix(12, 96, [](std::mt19937& random, std::size_t i) {
          return std::exponential_distribution<double>(1)(random) * (i / 32 % 2 == 0 ? 1 : -1);
        }));
  check("far from zero", draw_matrix(12, 64, [](std::mt19937& random, std::size_t) {
          return std::normal_distribution<double>(3, 1)(random);
        }));
}

TEST(FitNestedTest, TablesOfASampleAreAsGoodAsOfAll) {
  const Matrix one = normal_matrix(24, 192);  // 144 blocks, repeated 33 times
  Matrix many = one;
  for (int i = 1; i < 33; ++i) {
    many.weights.insert(many.weights.end(), one.weights.begin(), one.weights.end());
    many.rows += one.rows;
  }
  const NestedMatrix of_one = fitted(one), of_many = fitted(many);
  double sum = 0;
  for (const unsigned width : {2u, 3u, 4u, 6u}) {
    const double ratio = relative_error(many, of_many, width) / relative_error(one, of_one, width);
    EXPECT_LE(ratio, 1.02) << width;
    sum += ratio;
  }
  EXPECT_LE(sum, 4 * 1.01);
}

TEST(FitNestedTest, ErrorFallsWithEveryBit) {
  const Matrix matrix = normal_matrix();
  const NestedMatrix nested = fitted(matrix);
  double before = 1;
  for (const unsigned width : kWidths) {
    const double error = relative_error(matrix, nested, width);
    EXPECT_LT(error, before / (width == 2 ? 4 : 2.5)) << width;
    before = error;
  }
}

TEST(FitNestedTest, ImportantColumnsErrLess) {
  Matrix matrix = normal_matrix(32, 64);
  std::ranges::fill(matrix.importance, 1.0f);
  const NestedMatrix equal = fitted(matrix);
  std::fill(matrix.importance.begin() + 8, matrix.importance.end(), 0.0f);
  const NestedMatrix first = fitted(matrix);  // 56 columns that nothing reaches
  Matrix rest = matrix;
  for (float& importance : rest.importance) importance = 1 - importance;
  for (const unsigned width : {2u, 3u, 4u}) {
    EXPECT_LT(relative_error(matrix, first, width), 0.7 * relative_error(matrix, equal, width));
    // They still are what they were, if not as well.
    EXPECT_LT(relative_error(rest, first, width), 4 * relative_error(rest, equal, width));
  }
}

TEST(FitNestedTest, ImportanceIsRelative) {
  Matrix matrix = normal_matrix();
  const NestedMatrix nested = fitted(matrix);
  for (float& importance : matrix.importance) importance *= 0x1p-90f;
  expect_same(fitted(matrix), nested);

  std::ranges::fill(matrix.importance, 0.0f);
  const NestedMatrix zero = fitted(matrix);
  std::ranges::fill(matrix.importance, 3e38f);
  expect_same(fitted(matrix), zero);
  matrix.importance.clear();
  expect_same(fitted(matrix), zero);
}

TEST(FitNestedTest, DependsOnItsArgumentsAlone) {
  const Matrix matrix = normal_matrix();
  const NestedMatrix nested = fitted(matrix);
  NestedMatrix used;
  const std::vector<std::uint8_t> codes(64 * 512, 3);
  const std::vector<float> scales(64 * 512 / 32, 1.0f);
  ASSERT_TRUE(nest_codes(eight_bits(), codes, scales, 64, 512, {}, used).ok());
  ASSERT_TRUE(
      fit_nested(matrix.weights, matrix.rows, matrix.columns, matrix.importance, used).ok());
  EXPECT_EQ(used.form, &fitted_form());
  EXPECT_EQ(used.header.exponent_base, nested.header.exponent_base);
  expect_same(used, nested);
}

TEST(FitNestedTest, PowersOfTwoMoveTheExponentAlone) {
  Matrix matrix = normal_matrix();
  const NestedMatrix nested = fitted(matrix);
  for (const int exponent : {-60, -1, 1, 30, 100}) {
    Matrix scaled = matrix;
    for (float& weight : scaled.weights) weight = std::ldexp(weight, exponent);
    const NestedMatrix other = fitted(scaled);
    expect_same(other, nested);
    EXPECT_EQ(other.header.exponent_base, nested.header.exponent_base + exponent);
  }
}

TEST(FitNestedTest, ZerosBecomeNextToNothing) {
  Matrix matrix = normal_matrix();
  std::fill(matrix.weights.begin() + 256, matrix.weights.begin() + 288, -0.0f);
  const float largest = std::abs(
      *std::ranges::max_element(matrix.weights, {}, [](float weight) { return std::abs(weight); }));
  const NestedMatrix nested = fitted(matrix);
  EXPECT_EQ(nested.scales[8], 0);
  for (const unsigned width : kWidths) {
    const std::vector<float> values = decoded(nested, {}, width);
    for (std::size_t i = 256; i < 288; ++i) EXPECT_LT(std::abs(values[i]), 0x1p-30f * largest);
  }
  std::ranges::fill(matrix.weights, 0.0f);
  EXPECT_THAT(decoded(fitted(matrix), {}, 8), Each(testing::FloatNear(0, 0x1p-126f)));
}

TEST(FitNestedTest, AConstantIsKept) {
  for (const float constant : {1.0f, -0.3f, 7e30f, -5e-33f}) {
    Matrix matrix = normal_matrix(2, 32);
    std::ranges::fill(matrix.weights, constant);
    const NestedMatrix nested = fitted(matrix);
    for (const unsigned width : kWidths) {
      // Half a bucket of 8 codes, where the block's number is the 128th at least.
      EXPECT_LT(relative_error(matrix, nested, width), std::pow(4.0 / 128, 2))
          << constant << " at " << width;
    }
  }
}

TEST(FitNestedTest, AnyFiniteWeightsGiveFiniteValues) {
  constexpr float kHuge = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  const auto check = [](const Matrix& matrix) {
    const NestedMatrix nested = fitted(matrix);
    EXPECT_GE(nested.header.exponent_base, 1);
    EXPECT_LE(nested.header.exponent_base + 31, 254);
    for (const unsigned width : kWidths) {
      for (const float value : decoded(nested, {}, width)) EXPECT_TRUE(std::isfinite(value));
    }
    return relative_error(matrix, nested, 8);
  };
  const auto draw = [](std::array<float, 4> of) {
    return draw_matrix(6, 64, [of](std::mt19937& random, std::size_t) { return of[random() % 4]; });
  };
  EXPECT_LT(check(draw({1.5e38f, -1e38f, 1e38f, -1.5e38f})), 1e-4);
  check(draw({kHuge, -kHuge, 0, kHuge}));
  EXPECT_LT(check(draw({1e37f, -1e36f, 3e37f, -1e37f})), 1e-4);
  EXPECT_LT(check(draw({1e-35f, -1e-36f, 3e-36f, -2e-36f})), 1e-3);
  check(draw({kHuge, kTiny, -kTiny, 1}));
  check(draw({kTiny, -kTiny, 0, 3 * kTiny}));
}

TEST(FitNestedTest, NamesTheWeightThatIsNoNumber) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    Matrix matrix = normal_matrix(6, 64);
    matrix.weights[3 * 64 + 41] = bad;
    NestedMatrix out;
    const Status status = fit_nested(matrix.weights, 6, 64, matrix.importance, out);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("row 3, column 41"));
  }
}

TEST(FitNestedTest, NamesTheImportanceThatIsNone) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -1.0f, std::numeric_limits<float>::infinity()}) {
    Matrix matrix = normal_matrix(6, 64);
    matrix.importance[17] = bad;
    NestedMatrix out;
    const Status status = fit_nested(matrix.weights, 6, 64, matrix.importance, out);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("column 17"));
    const std::vector<std::uint8_t> codes(6 * 64);
    const std::vector<float> scales(6 * 2, 1.0f);
    EXPECT_FALSE(nest_codes(eight_bits(), codes, scales, 6, 64, matrix.importance, out).ok());
  }
}

/// A source of 40 rows of three blocks, whose codes keep within limits that are each block's own.
struct Source {
  static constexpr std::size_t kRows = 40, kColumns = 96;
  std::vector<std::int8_t> numbers;
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;

  Source(const NestedForm& form, unsigned seed) {
    std::mt19937 random(seed);
    const int most = form.bits == 4 ? 8 : 128;
    for (std::size_t block = 0; block < kRows * kColumns / 32; ++block) {
      std::normal_distribution<double> code(0, most / 3.0);
      const int low = random() % 2 == 0 ? -most : -static_cast<int>(random() % (most + 1));
      const int high = random() % 2 == 0 ? most - 1 : static_cast<int>(random() % most);
      for (int i = 0; i < 32; ++i) {
        const int drawn = std::clamp(static_cast<int>(std::lround(code(random))), low, high);
        numbers.push_back(static_cast<std::int8_t>(drawn));
      }
      scales.push_back(static_cast<float>(random() % 100 + 20) / (random() % 2 ? -900 : 900));
    }
    numbers[0] = static_cast<std::int8_t>(-most);
    numbers[1] = static_cast<std::int8_t>(most - 1);
    for (const int number : numbers) codes.push_back(static_cast<std::uint8_t>(number + most));
  }
};

TEST(NestCodesTest, FullWidthIsTheSourceAgain) {
  for (const NestedForm* const of : {&eight_bits(), &four_bits()}) {
    const NestedForm& form = *of;
    const bool small = form.bits == 4;
    for (unsigned seed = 0; seed < 20; ++seed) {
      Source source(form, seed);
      if (seed % 4 == 1) {  // what a damaged file may hold
        source.scales[1] = std::numeric_limits<float>::infinity();
        source.scales[2] = std::numeric_limits<float>::quiet_NaN();
        source.scales[3] = 0;
      }
      if (seed % 4 == 2) std::ranges::fill(source.scales, 0.0f);
      NestedMatrix nested;
      ASSERT_TRUE(
          nest_codes(form, source.codes, source.scales, Source::kRows, Source::kColumns, {}, nested)
              .ok());
      EXPECT_EQ(nested.form, &form);
      for (std::size_t i = 0; i < source.codes.size(); ++i) {
        const int offset = nested.offsets[i / 32];
        ASSERT_TRUE(offset >= -8 && offset <= 7);
        ASSERT_EQ(nested.codes[i] - (small ? 8 : 128) + (small ? 1 : 8) * offset,
                  source.numbers[i]);
        ASSERT_LT(nested.codes[i], small ? 16 : 256);
      }
      const std::vector<float> values = decoded(nested, source.scales, small ? 4 : 8);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float expected = source.scales[i / 32] * source.numbers[i];
        ASSERT_TRUE(values[i] == expected || std::isnan(expected)) << i;
      }
    }
  }
}

TEST(NestCodesTest, ErrsAsLittleAsAnExhaustiveSearch) {
  for (const NestedForm* const of : {&eight_bits(), &four_bits()}) {
    const NestedForm& form = *of;
    const Source source(form, 99);
    Matrix matrix = normal_matrix(Source::kRows, Source::kColumns);
    for (std::size_t i = 0; i < matrix.weights.size(); ++i) {
      matrix.weights[i] = source.scales[i / 32] * source.numbers[i];
    }
    const ExhaustiveFit oracle(
        test::code_source(form, source.numbers, source.scales, matrix.columns, matrix.importance));
    NestedMatrix nested;
    ASSERT_TRUE(nest_codes(form, source.codes, source.scales, matrix.rows, matrix.columns,
                           matrix.importance, nested)
                    .ok());
    std::vector<double> errors;
    for (const unsigned width : oracle.widths()) {
      errors.push_back(relative_error(matrix, decoded(nested, source.scales, width)));
    }
    expect_as_good(matrix, errors, oracle, form.bits == 8 ? "8 bits" : "4 bits");
  }
}

// Of forms without offsets: nothing is searched, and tables are the means of what they stand for.
TEST(NestCodesTest, StandsAreMeansWhereThereAreNoOffsets) {
  for (const NestedForm& form : nested_forms()) {
    if (form.unit != 0) continue;
    constexpr std::size_t kRows = 24;
    const std::size_t columns = 3 * form.block, group = form.format().group;
    std::mt19937 random(form.bits);
    std::vector<std::uint8_t> codes(kRows * columns);
    const int last = (1 << form.bits) - 1;
    std::normal_distribution<double> code(last * 0.55, last * 0.25);
    for (std::uint8_t& drawn : codes) {
      drawn = static_cast<std::uint8_t>(
          std::clamp(static_cast<int>(std::lround(code(random))), 0, last));
    }
    std::vector<float> scales(codes.size() / group);
    for (float& scale : scales) scale = static_cast<float>(random() % 100 + 20) / 900;
    scales[1] = std::numeric_limits<float>::infinity();  // what a damaged file may hold
    scales[2] = std::numeric_limits<float>::quiet_NaN();
    const Matrix matrix = normal_matrix(kRows, columns);  // its importance
    NestedMatrix nested;
    ASSERT_TRUE(nest_codes(form, codes, scales, kRows, columns, matrix.importance, nested).ok());
    EXPECT_EQ(nested.codes, codes) << form.name;
    EXPECT_TRUE(nested.offsets.empty());
    const auto number = [&](unsigned of) {
      return form.book != nullptr ? form.book[of] : form.first + static_cast<int>(of);
    };
    const std::array<const std::int8_t*, 3> tables = {nested.header.two, nested.header.three,
                                                      nested.header.four};
    for (unsigned width = 2; width <= 4 && width < form.bits; ++width) {
      std::vector<double> whole(16), first(16);
      for (std::size_t i = 0; i < codes.size(); ++i) {
        const double scale = scales[i / group];
        if (!std::isfinite(scale)) continue;
        const double counts = matrix.importance[i % columns] * scale * scale;
        whole[codes[i] >> (form.bits - width)] += counts;
        first[codes[i] >> (form.bits - width)] += counts * number(codes[i]);
      }
      for (unsigned prefix = 0; prefix < 1u << width; ++prefix) {
        // A mean, to the nearest step.
        const double stand = tables[width - 2][prefix] / static_cast<double>(form.steps);
        EXPECT_NEAR(stand, first[prefix] / whole[prefix], 0.5001 / form.steps)
            << form.name << ", width " << width << ", prefix " << prefix;
      }
    }
  }
}

}  // namespace
}  // namespace sluice

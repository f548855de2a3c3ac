// The sum of a row's experts against rule 9 of base/canonical.h, element by element.

#include <gtest/gtest.h>

#include <cstring>

#include "tests/cpu/drawn_experts.h"

namespace sluice {
namespace {

float plain_sum(const test::DrawnExperts& drawn, std::size_t row, std::size_t column) {
  float sum = 0;
  for (std::size_t pair = row * drawn.ranks; pair < (row + 1) * drawn.ranks; ++pair) {
    if (drawn.places[pair] == CombineTask::kLeftOut) continue;
    const float product =
        drawn.weights[pair] * drawn.outputs[drawn.places[pair] * drawn.columns + column];
    sum = sum + product;
  }
  return sum;
}

TEST(Combine, AddsEachRowsExpertsInTheirOrder) {
  for (const auto& [rows, ranks, columns] : test::kExpertsShapes) {
    const test::DrawnExperts drawn(rows, ranks, columns);
    std::vector<float> wanted;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < columns; ++i) wanted.push_back(plain_sum(drawn, row, i));
    }
    wanted.push_back(5.0f);
    for (const unsigned threads : {1u, 3u}) {
      std::vector<float> out(rows * columns + 1, 5.0f);
      test::compute_with(test::available_isas().back(), threads)->combine(drawn.task(out.data()));
      EXPECT_EQ(std::memcmp(out.data(), wanted.data(), out.size() * sizeof(float)), 0)
          << rows << " rows, " << ranks << " ranks, " << columns << " columns";
    }
  }
}

}  // namespace
}  // namespace sluice

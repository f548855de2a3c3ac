#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kv_cache_fixture.h"

namespace sluice {
namespace {

using test::available_isas;
using test::compute_with;
using test::random_floats;

struct Layout {
  std::size_t heads, head_dim, rotary_dim;
  bool interleaved;
};

TEST(Rope, TurnsPairsByTheirAngles) {
  const Layout layouts[] = {{4, 128, 128, false}, {4, 128, 128, true}, {3, 64, 20, false},
                            {3, 64, 20, true},    {2, 10, 6, false},   {40, 96, 64, true},
                            {1, 2, 2, false}};
  for (const Layout& layout : layouts) {
    const std::size_t rows = 50, stride = layout.heads * layout.head_dim + 7;
    const std::size_t pairs = layout.rotary_dim / 2;
    const auto x = random_floats(rows * stride, 1.0f, 1);
    std::vector<double> angles;
    std::vector<float> cosines, sines;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < pairs; ++i) {
        const double angle =
            static_cast<double>(row) *
            std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(pairs));
        angles.push_back(angle);
        cosines.push_back(static_cast<float>(std::cos(angle)));
        sines.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    // Rule 7 word for word, next to double precision: three roundings a term, the tables' own among
    // them.
    auto expected = x;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t head = 0; head < layout.heads; ++head) {
        for (std::size_t i = 0; i < pairs; ++i) {
          float* const at = &expected[row * stride + head * layout.head_dim];
          float& x0 = layout.interleaved ? at[2 * i] : at[i];
          float& x1 = layout.interleaved ? at[2 * i + 1] : at[i + pairs];
          const float a = x0, b = x1;
          const float cosine = cosines[row * pairs + i], sine = sines[row * pairs + i];
          const float product = b * sine, other = a * sine;
          x0 = std::fma(a, cosine, -product);
          x1 = std::fma(b, cosine, other);
          const double angle = angles[row * pairs + i];
          const double bound = 0x1p-24 * 3.0 * (std::fabs(a) + std::fabs(b));
          EXPECT_NEAR(x0, double{a} * std::cos(angle) - double{b} * std::sin(angle), bound);
          EXPECT_NEAR(x1, double{b} * std::cos(angle) + double{a} * std::sin(angle), bound);
        }
      }
    }
    for (const Isa isa : available_isas()) {
      for (const unsigned threads : {1u, 2u, 4u}) {
        const auto compute = compute_with(isa, threads);
        auto out = x;
        RopeTask task;
        task.x = out.data();
        task.rows = rows;
        task.stride = stride;
        task.heads = layout.heads;
        task.head_dim = layout.head_dim;
        task.rotary_dim = layout.rotary_dim;
        task.interleaved = layout.interleaved;
        task.cosines = cosines.data();
        task.sines = sines.data();
        compute->rope(task);
        EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0)
            << compute->name() << ", rotary " << layout.rotary_dim << " of " << layout.head_dim;
      }
    }
  }
}

}  // namespace
}  // namespace sluice

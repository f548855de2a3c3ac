#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kv_cache_fixture.h"

namespace sluice {
namespace {

using test::compute_with;
using test::random_floats;

struct Layout {
  std::size_t rows, columns, out_stride, x_stride;
};
constexpr Layout kLayouts[] = {
    {1, 1, 1, 1}, {3, 7, 9, 8}, {50, 1000, 1003, 2000}, {7, 16500, 16500, 16500}};

/// Every element by itself, in the words of MapOp.
float expected(MapOp op, float out, float x, float factor, float gate) {
  switch (op) {
    case MapOp::kFill:
      return factor;
    case MapOp::kAddGated: {
      const float product = 1.0f / (1.0f + canonical_exp(-gate)) * x;
      return out + product;
    }
    case MapOp::kCopy:
      return x;
    case MapOp::kAdd: {
      const float product = factor * x;
      return out + product;
    }
    case MapOp::kScale:
      return out * factor;
    case MapOp::kGate:
      return out * (1.0f / (1.0f + canonical_exp(-x)));
    case MapOp::kClamp:
      return std::isnan(out) ? out : std::max(-factor, std::min(factor, out));
  }
  return 0;
}

TEST(Map, ChangesEachElementOfItsRowsAlone) {
  for (const MapOp op : {MapOp::kFill, MapOp::kCopy, MapOp::kAdd, MapOp::kAddGated, MapOp::kScale,
                         MapOp::kGate, MapOp::kClamp}) {
    for (const Layout& layout : kLayouts) {
      for (const unsigned threads : {1u, 2u}) {
        auto out = random_floats(layout.rows * layout.out_stride, 2.0f, 1);
        const auto x = random_floats(layout.rows * layout.x_stride, 30.0f, 2);
        const auto gates = random_floats(layout.rows, 3.0f, 3);
        out.front() = std::numeric_limits<float>::quiet_NaN();
        auto wanted = out;
        for (std::size_t row = 0; row < layout.rows; ++row) {
          for (std::size_t i = 0; i < layout.columns; ++i) {
            float& element = wanted[row * layout.out_stride + i];
            element = expected(op, element, x[row * layout.x_stride + i], 0.7f, gates[row]);
          }
        }
        const bool reads_x = op != MapOp::kFill && op != MapOp::kScale && op != MapOp::kClamp;
        compute_with(test::available_isas().back(), threads)
            ->map({.op = op,
                   .out = out.data(),
                   .out_stride = layout.out_stride,
                   .x = reads_x ? x.data() : nullptr,
                   .x_stride = reads_x ? layout.x_stride : 0,
                   .gates = op == MapOp::kAddGated ? gates.data() : nullptr,
                   .factor = 0.7f,
                   .rows = layout.rows,
                   .columns = layout.columns});
        ASSERT_EQ(std::memcmp(out.data(), wanted.data(), out.size() * sizeof(float)), 0)
            << static_cast<int>(op) << ' ' << layout.rows << 'x' << layout.columns;
      }
    }
  }
}

}  // namespace
}  // namespace sluice

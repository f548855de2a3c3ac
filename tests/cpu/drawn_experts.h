#pragma once
// Experts' outputs of some rows, and where each row's are: drawn, with what is easily got wrong.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "tests/cpu/kv_cache_fixture.h"

namespace sluice::test {

struct DrawnExperts {
  DrawnExperts(std::size_t n_rows, std::size_t n_ranks, std::size_t n_columns)
      : rows(n_rows),
        ranks(n_ranks),
        columns(n_columns),
        outputs(random_floats(n_rows * n_ranks * n_columns, 4.0f, 1)),
        weights(random_floats(n_rows * n_ranks, 1.0f, 2)),
        places(n_rows * n_ranks) {
    std::mt19937 random(3);
    std::iota(places.begin(), places.end(), 0u);
    std::ranges::shuffle(places, random);
    if (outputs.empty()) return;
    outputs.front() = std::numeric_limits<float>::infinity();
    outputs[outputs.size() / 2] = -0.0f;
    // What nobody asks for may be anything.
    for (std::uint32_t& place : places) {
      if (random() % 5 != 0) continue;
      std::fill_n(outputs.begin() + static_cast<std::ptrdiff_t>(place * columns), columns,
                  std::numeric_limits<float>::quiet_NaN());
      place = CombineTask::kLeftOut;
    }
  }
  CombineTask task(float* out) const {
    return {outputs.data(), places.data(), weights.data(), out, rows, ranks, columns};
  }

  std::size_t rows, ranks, columns;
  std::vector<float> outputs, weights;
  std::vector<std::uint32_t> places;
};

struct ExpertsShape {
  std::size_t rows, ranks, columns;
};
inline constexpr ExpertsShape kExpertsShapes[] = {
    {1, 1, 1},    {3, 2, 7},  {1, 8, 2048}, {50, 6, 333},  {9, 11, 515},
    {7, 3, 9000}, {5, 0, 40}, {200, 1, 64}, {2, 40, 1000}, {0, 4, 10}};

}  // namespace sluice::test

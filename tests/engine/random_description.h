#pragma once
// Draws descriptions of models that nobody has made: every field for itself, as far as the fields
// can be combined.

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>

#include "layers/model_description.h"

namespace sluice::test {

/// The same numbers from the same seed with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// In [least, most].
  std::uint32_t whole(std::uint32_t least, std::uint32_t most) {
    return least + static_cast<std::uint32_t>(engine_() % (std::uint64_t{most} - least + 1));
  }
  double real(double least, double most) {
    return least + (most - least) * static_cast<double>(engine_() >> 11) * 0x1p-53;
  }
  /// A float, so that a double that is written down as one is the same.
  float single(double least, double most) { return static_cast<float>(real(least, most)); }
  bool chance(double probability) { return real(0, 1) < probability; }
  /// Nearly normal, with mean 0 and variance 1: a sum of four.
  double normal() {
    constexpr double kHalfWidth = 0.8660254037844386;
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += real(-kHalfWidth, kHalfWidth);
    return sum;
  }
  template <typename T, std::size_t N>
  T one_of(const std::array<T, N>& all) {
    return all[whole(0, N - 1)];
  }

 private:
  std::mt19937_64 engine_;
};

/// Small enough for double precision in plain loops, with windows, chunks and scalings that
/// `positions` positions get to feel. What tensors alone say (biases, sinks …) is not in it.
ModelDescription random_description(Random& random, std::uint32_t positions);

}  // namespace sluice::test

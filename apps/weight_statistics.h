#pragma once
// What the numbers of a matrix or a vector look like, gathered piece by piece.

#include <cstdint>
#include <span>

namespace sluice::apps {

struct WeightStatistics {
  std::uint64_t count = 0;
  std::uint64_t rows = 0;
  std::uint64_t zero_rows = 0;         // rows in which every number is zero
  std::uint64_t not_finite = 0;        // infinities and what is no number
  std::uint64_t first_not_finite = 0;  // its place, where there is one
  double sum = 0;                      // of the finite ones, as what follows
  double squares = 0;
  float least = 0, most = 0;

  double rms() const;
  float peak() const;  // the largest without its sign
  bool constant() const { return least == most; }
  bool zero() const { return constant() && least == 0; }

  /// Rows that follow on those so far. REQUIRES: whole rows of `columns`.
  void add(std::span<const float> numbers, std::uint64_t columns);
  /// What was gathered of the rows that follow.
  void append(const WeightStatistics& next);
};

}  // namespace sluice::apps

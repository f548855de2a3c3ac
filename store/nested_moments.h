#pragma once
// What a round of fitting remembers of the blocks that it has seen: enough to fit the tables to
// them, and to say how large the errors are.

#include <cstdint>

#include "base/nested_stand.h"
#include "store/nested_cost.h"

namespace sluice {

/// One thread at a time.
class NestedMoments {
 public:
  explicit NestedMoments(const NestedForm& form) : form_(form) {}

  /// A block [kNestedBlock]: values in steps, less the offset; what a squared step of each counts;
  /// and the codes that they have.
  void add(const float* values, const float* weights, const std::uint8_t* codes);

  /// The stands of least squared error: means, rounded. A prefix that no value has keeps the middle
  /// of its codes.
  NestedHeader tables() const;
  /// Prices with which each width matters as much as the next (6 bits: half as much), whatever its
  /// error with these tables is.
  NestedPrices prices(const NestedHeader& tables) const;

 private:
  struct Bucket {
    double weight = 0, first = 0, second = 0;  // sums of weight, weight * value, weight * value^2
  };
  Bucket bucket(unsigned width, unsigned prefix) const;
  double error(const NestedHeader& tables, unsigned width) const;

  const NestedForm& form_;
  Bucket buckets_[16];    // of each prefix of 4 bits
  double error_six_ = 0;  // sum of weight * error^2 at 6 bits
};

/// Every stand in the middle of its codes, and the prices that errors of evenly spread values have:
/// where a fit begins.
NestedHeader middle_tables(const NestedForm& form);
NestedPrices first_prices(const NestedForm& form);

}  // namespace sluice

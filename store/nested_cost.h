#pragma once
// What a block of nested codes costs at each of the sixteen offsets: the heart of the fitter's
// search, which tries many scales.
//
// The cost is a sum over widths b of price_b * sum(weight * (x - decoded_b)^2), x being the values
// in steps of the scale. Let a bin be the codes that no width tells apart, D_b the distance from
// where a bin begins to its stand at width b, and t that from there to x. Then each value adds
//     sum_b price_b (t - D_b)^2  =  P t^2 - 2 (sum_b price_b D_b) t + sum_b price_b D_b^2,
// the first term the same in every bin, the others two numbers of the bin. An offset moves a value
// by two bins, so what it costs at all the offsets is neighbours in a table: one pass of products
// and sums, in lanes that have the same order of summation on every machine. Bins before the first
// code and behind the last have the stands of these, which is what clamping a code means.

#include <cstddef>

#include "base/nested_stand.h"

namespace sluice {

/// Of blocks, and how many there are.
inline constexpr int kNestedLeastOffset = -8, kNestedMostOffset = 7;
inline constexpr std::size_t kNestedOffsets = kNestedMostOffset - kNestedLeastOffset + 1;

/// What a squared error counts at the widths 2, 3, 4 and 6, the ones that a fit goes by.
struct NestedPrices {
  double two = 0, three = 0, four = 0, six = 0;
};

/// Immutable once made, so that threads may share it.
class NestedCost {
 public:
  /// A form of four bits has no width 6: its price is not used.
  NestedCost(const NestedForm& form, const NestedHeader& tables, const NestedPrices& prices);

  /// Of a block's values [kNestedBlock] in steps of its scale, finite, each with its weight:
  /// costs[i] is that of offset kNestedMostOffset - i.
  void at_offsets(const float* values, const float* weights, float* costs) const;

 private:
  // Bins that a value may be in, counted from kMiddle bins before zero; two of each entry of the
  // tables, which begin with the highest offset.
  static constexpr int kBins = 128, kMiddle = 64;
  static constexpr int kEntries = kBins / 2 + static_cast<int>(kNestedOffsets);

  float bin_;                               // steps in a bin: half an offset's unit
  float square_;                            // P
  alignas(64) float linear_[2 * kEntries];  // of even bins, then of odd ones
  alignas(64) float constant_[2 * kEntries];
};

}  // namespace sluice

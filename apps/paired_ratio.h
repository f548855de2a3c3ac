#pragma once
// How many times as fast one way of working is as another, from pairs that were measured side by
// side.

#include <cstddef>
#include <optional>
#include <span>

namespace sluice::apps {

/// The t that |T| exceeds with a probability of 5 %, T of Student's distribution.
/// REQUIRES: freedom >= 1.
double t_quantile_95(std::size_t freedom);

/// The geometric mean and its 95 % interval: Student's, on the logarithms.
struct PairedRatio {
  struct Interval {
    double low = 0, high = 0;
  };

  std::size_t pairs = 0;
  double mean = 1;
  std::optional<Interval> interval;  // none without two pairs

  /// One ratio a pair. REQUIRES: there is one, and all are above 0.
  static PairedRatio of(std::span<const double> ratios);
};

}  // namespace sluice::apps

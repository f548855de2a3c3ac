#include "apps/paired_ratio.h"

#include <cmath>
#include <numbers>

namespace sluice::apps {
namespace {

/// P(|T| <= t): the finite sums for whole degrees of freedom (Abramowitz and
/// Stegun 26.7.3, 26.7.4).
double within(double t, std::size_t freedom) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(freedom)));
  const double cosine = std::cos(angle);
  const bool odd = freedom % 2 == 1;
  double term = odd ? cosine : 1, sum = 0;
  for (std::size_t factor = odd ? 3 : 2; factor <= freedom; factor += 2) {
    sum += term;
    term *= cosine * cosine * static_cast<double>(factor - 1) / static_cast<double>(factor);
  }
  if (!odd) return std::sin(angle) * sum;
  return 2 / std::numbers::pi * (angle + std::sin(angle) * sum);
}

}  // namespace

double t_quantile_95(std::size_t freedom) {
  double low = 1.9, high = 12.8;  // of infinitely many degrees, and of one
  for (int halving = 0; halving < 60; ++halving) {
    const double middle = (low + high) / 2;
    (within(middle, freedom) < 0.95 ? low : high) = middle;
  }
  return high;
}

PairedRatio PairedRatio::of(std::span<const double> ratios) {
  const auto count = static_cast<double>(ratios.size());
  double mean = 0, squares = 0;
  for (const double ratio : ratios) mean += std::log(ratio) / count;
  for (const double ratio : ratios) squares += std::pow(std::log(ratio) - mean, 2);
  PairedRatio found{.pairs = ratios.size(), .mean = std::exp(mean), .interval = std::nullopt};
  if (ratios.size() < 2) return found;
  const double reach = t_quantile_95(ratios.size() - 1) * std::sqrt(squares / (count - 1) / count);
  found.interval = {.low = std::exp(mean - reach), .high = std::exp(mean + reach)};
  return found;
}

}  // namespace sluice::apps

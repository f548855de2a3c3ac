#include "hybrid/cost_curve.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace sluice {
namespace {

constexpr std::uint32_t kLastRows = 1u << (CostCurve::kKnots - 1);

// Of the logarithm of what was measured over what was expected: at most so much counts, and so much
// of it is learned at the knots of the measurement, and at the others: a clock that changes changes
// all alike.
constexpr double kMostSurprise = 0.4, kLearned = 0.2, kLearnedElsewhere = 0.05;

}  // namespace

CostCurve CostCurve::roofline(double bytes_a_second, double weights_a_second,
                              double weights_a_byte) {
  std::array<double, kKnots> knots{};
  for (std::size_t knot = 0; knot < kKnots; ++knot) {
    const double rows = static_cast<double>(1u << knot);
    knots[knot] = std::max(1 / bytes_a_second, rows * weights_a_byte / weights_a_second);
  }
  return CostCurve(knots);
}

double CostCurve::at(std::uint32_t rows) const {
  if (rows >= kLastRows) return byte_seconds_.back() * rows / kLastRows;
  const auto knot = static_cast<std::size_t>(std::bit_width(rows)) - 1;
  const double first = static_cast<double>(1u << knot);
  const double way = (rows - first) / first;
  return byte_seconds_[knot] + way * (byte_seconds_[knot + 1] - byte_seconds_[knot]);
}

double CostCurve::seconds(std::uint64_t bytes, std::uint32_t rows) const {
  return rows == 0 ? 0 : static_cast<double>(bytes) * at(rows);
}

void CostCurve::observe(std::span<const Part> parts, double measured) {
  double expected = 0;
  std::array<double, kKnots> share{};  // of what is expected, that lies at each knot
  for (const Part& part : parts) {
    if (part.rows == 0) continue;
    const double cost = seconds(part.bytes, part.rows);
    expected += cost;
    const std::uint32_t rows = std::min(part.rows, kLastRows);
    const auto knot = static_cast<std::size_t>(std::bit_width(rows)) - 1;
    const double first = static_cast<double>(1u << knot), way = (rows - first) / first;
    share[knot] += cost * (1 - way);
    if (way > 0) share[knot + 1] += cost * way;
  }
  if (!(expected > 0) || !(measured > 0) || !std::isfinite(measured)) return;
  const double surprise = std::clamp(std::log(measured / expected), -kMostSurprise, kMostSurprise);
  for (std::size_t knot = 0; knot < kKnots; ++knot) {
    const double here = share[knot] / expected;
    byte_seconds_[knot] *=
        std::exp(surprise * (kLearnedElsewhere + here * (kLearned - kLearnedElsewhere)));
  }
}

}  // namespace sluice

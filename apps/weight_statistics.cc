#include "apps/weight_statistics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace sluice::apps {
namespace {

constexpr std::uint32_t kExponent = 0x7f800000;  // all of these bits: no finite number
constexpr std::size_t kLanes = 8;

/// One number at a time; those that are not finite are counted and left out.
WeightStatistics gather_any(std::span<const float> numbers) {
  WeightStatistics found{.count = numbers.size()};
  bool any = false;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const float number = numbers[i];
    if (!std::isfinite(number)) {
      if (found.not_finite++ == 0) found.first_not_finite = i;
      continue;
    }
    found.sum += number;
    found.squares += static_cast<double>(number) * number;
    found.least = any ? std::min(found.least, number) : number;
    found.most = any ? std::max(found.most, number) : number;
    any = true;
  }
  return found;
}

/// Lanes that know nothing of one another, which a compiler turns into registers.
WeightStatistics gather(std::span<const float> numbers) {
  const std::size_t whole = numbers.size() / kLanes * kLanes;
  if (whole == 0) return gather_any(numbers);
  std::array<double, kLanes> sums{}, squares{};
  std::array<float, kLanes> least, most;
  std::array<std::uint32_t, kLanes> not_finite{};
  std::copy_n(numbers.begin(), kLanes, least.begin());
  most = least;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float number = numbers[i + lane];
      const double wide = number;
      sums[lane] += wide;
      squares[lane] += wide * wide;
      least[lane] = number < least[lane] ? number : least[lane];
      most[lane] = number > most[lane] ? number : most[lane];
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(number);
      not_finite[lane] |= (bits & kExponent) == kExponent ? 1u : 0u;
    }
  }
  if (std::ranges::count(not_finite, 0u) != kLanes) return gather_any(numbers);
  WeightStatistics found{.count = whole};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    found.sum += sums[lane];
    found.squares += squares[lane];
  }
  found.least = *std::ranges::min_element(least);
  found.most = *std::ranges::max_element(most);
  if (whole < numbers.size()) found.append(gather_any(numbers.subspan(whole)));
  return found;
}

}  // namespace

double WeightStatistics::rms() const {
  const std::uint64_t finite = count - not_finite;
  return finite == 0 ? 0 : std::sqrt(squares / static_cast<double>(finite));
}

float WeightStatistics::peak() const { return std::max(-least, most); }

void WeightStatistics::add(std::span<const float> numbers, std::uint64_t columns) {
  for (; !numbers.empty(); numbers = numbers.subspan(columns)) {
    WeightStatistics row = gather(numbers.first(columns));
    row.rows = 1;
    row.zero_rows = row.not_finite == 0 && row.zero() ? 1 : 0;
    append(row);
  }
}

void WeightStatistics::append(const WeightStatistics& next) {
  if (next.count != next.not_finite) {
    const bool first = count == not_finite;  // nothing finite so far
    least = first ? next.least : std::min(least, next.least);
    most = first ? next.most : std::max(most, next.most);
  }
  if (not_finite == 0 && next.not_finite != 0) first_not_finite = count + next.first_not_finite;
  count += next.count;
  rows += next.rows;
  zero_rows += next.zero_rows;
  not_finite += next.not_finite;
  sum += next.sum;
  squares += next.squares;
}

}  // namespace sluice::apps

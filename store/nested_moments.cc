#include "store/nested_moments.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace sluice {
namespace {

// What matters, in docs/nesting.md "balanced": a width's error relative to what it usually is.
constexpr double kShareOfSix = 0.5;
// An error that is next to nothing has a price, not an infinite one.
constexpr double kMostPrice = 1 << 20;

std::span<std::int8_t> stands(NestedHeader& tables, unsigned width) {
  if (width == 2) return tables.two;
  if (width == 3) return tables.three;
  return tables.four;
}

/// The middle of the numbers that codes with a prefix are, in steps.
double middle(const NestedForm& form, unsigned width, unsigned prefix) {
  return 0.5 * twice_nested_middle(form, width, prefix);
}

std::int8_t rounded(double stand) {
  return static_cast<std::int8_t>(std::clamp(std::nearbyint(stand), -128.0, 127.0));
}

template <typename Stand>
NestedHeader tables_of(const Stand& stand) {
  NestedHeader tables;
  for (unsigned width = 2; width <= 4; ++width) {
    for (unsigned prefix = 0; prefix < 1u << width; ++prefix) {
      stands(tables, width)[prefix] = rounded(stand(width, prefix));
    }
  }
  return tables;
}

}  // namespace

void NestedMoments::add(const float* values, const float* weights, const std::uint8_t* codes) {
  const unsigned bits = form_.bits;
  const NestedHeader none = {};
  double six = 0;
  for (std::size_t i = 0; i < kNestedBlock; ++i) {
    const double weight = weights[i], value = values[i];
    Bucket& bucket = buckets_[codes[i] >> (bits - 4)];
    bucket.weight += weight;
    bucket.first += weight * value;
    bucket.second += weight * value * value;
    if (bits == 8) {
      const double error = value - 0.5 * twice_nested_stand(form_, none, 6, codes[i] >> 2);
      six += weight * error * error;
    }
  }
  error_six_ += six;
}

NestedMoments::Bucket NestedMoments::bucket(unsigned width, unsigned prefix) const {
  Bucket sum;
  const unsigned each = 16 >> width;
  for (unsigned i = prefix * each; i < (prefix + 1) * each; ++i) {
    sum.weight += buckets_[i].weight;
    sum.first += buckets_[i].first;
    sum.second += buckets_[i].second;
  }
  return sum;
}

NestedHeader NestedMoments::tables() const {
  return tables_of([this](unsigned width, unsigned prefix) {
    const Bucket sum = bucket(width, prefix);
    const bool exact = width == form_.bits;
    return sum.weight > 0 && !exact ? sum.first / sum.weight : middle(form_, width, prefix);
  });
}

double NestedMoments::error(const NestedHeader& tables, unsigned width) const {
  if (width == 6) return error_six_;
  double error = 0;
  for (unsigned prefix = 0; prefix < 1u << width; ++prefix) {
    const Bucket sum = bucket(width, prefix);
    const double stand = 0.5 * twice_nested_stand(form_, tables, width, prefix);
    error += sum.second - 2 * stand * sum.first + stand * stand * sum.weight;
  }
  return error;
}

NestedPrices NestedMoments::prices(const NestedHeader& tables) const {
  const double most = error(tables, 2);
  if (!(most > 0)) return first_prices(form_);
  const auto price = [&](unsigned width) {
    return most / std::max(error(tables, width), most / kMostPrice);
  };
  if (form_.bits == 4) return {.two = 1, .three = price(3)};
  return {.two = 1, .three = price(3), .four = price(4), .six = kShareOfSix * price(6)};
}

NestedHeader middle_tables(const NestedForm& form) {
  return tables_of(
      [&form](unsigned width, unsigned prefix) { return middle(form, width, prefix); });
}

NestedPrices first_prices(const NestedForm& form) {
  if (form.bits == 4) return {.two = 1, .three = 4};
  return {.two = 1, .three = 4, .four = 16, .six = kShareOfSix * 256};
}

}  // namespace sluice

#include "store/nested_cost.h"

#include <algorithm>

#include "store/four_floats.h"

namespace sluice {

NestedCost::NestedCost(const NestedForm& form, const NestedHeader& tables,
                       const NestedPrices& prices)
    : bin_(static_cast<float>(nested_unit(form)) / 2) {
  const double bin = bin_;
  const int codes_bins = static_cast<int>(256 / bin);
  const double six = form.bits == 4 ? 0 : prices.six;
  square_ = static_cast<float>(prices.two + prices.three + prices.four + six);
  for (int odd = 0; odd < 2; ++odd) {
    for (int entry = 0; entry < kEntries; ++entry) {
      // The bin among those of the codes, and the nearest one that codes have.
      const int at = 2 * (entry - kNestedMostOffset) + odd - kMiddle + codes_bins / 2;
      const auto near = static_cast<unsigned>(std::clamp(at, 0, codes_bins - 1));
      const double begin = bin * at - 128;
      double linear = 0, constant = 0;
      const auto add = [&](double price, unsigned width) {
        const unsigned prefix = (near << width) / static_cast<unsigned>(codes_bins);
        const double distance = 0.5 * twice_nested_stand(form, tables, width, prefix) - begin;
        linear -= 2 * price * distance;
        constant += price * distance * distance;
      };
      add(prices.two, 2);
      add(prices.three, 3);
      add(prices.four, 4);
      if (six > 0) add(six, 6);
      linear_[odd * kEntries + entry] = static_cast<float>(linear);
      constant_[odd * kEntries + entry] = static_cast<float>(constant);
    }
  }
}

void NestedCost::at_offsets(const float* values, const float* weights, float* costs) const {
  std::int32_t bins[kNestedBlock];
  float moments[kNestedBlock];  // weight * t
  FourFloats squares;           // weight * t^2
  const FourFloats bin(bin_), per_bin(1 / bin_), middle(kMiddle), none, last(kBins - 1);
  for (std::size_t i = 0; i < kNestedBlock; i += 4) {
    // A value beyond the bins has the t that is beyond the last: the sum above holds for any t.
    const FourFloats value = FourFloats::load(values + i);
    min(max(value * per_bin + middle, none), last).store(bins + i);
    const FourFloats t = value - bin * (FourFloats::load(bins + i) - middle);
    const FourFloats moment = FourFloats::load(weights + i) * t;
    moment.store(moments + i);
    squares = squares + moment * t;
  }
  FourFloats sums[kNestedOffsets / 4];
  for (std::size_t i = 0; i < kNestedBlock; ++i) {
    const int entry = (bins[i] >> 1) + (bins[i] & 1) * kEntries;
    const FourFloats moment(moments[i]), weight(weights[i]);
    for (int four = 0; four < 4; ++four) {
      sums[four] = sums[four] + (moment * FourFloats::load(linear_ + entry + 4 * four) +
                                 weight * FourFloats::load(constant_ + entry + 4 * four));
    }
  }
  const FourFloats common(square_ * sum_of(squares));
  for (int four = 0; four < 4; ++four) (sums[four] + common).store(costs + 4 * four);
}

}  // namespace sluice

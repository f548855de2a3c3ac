#pragma once
// Give up the expert whose next use is expected to be farthest away, as ReuseForecast has learned
// to tell: a share f of its layer's turns, the first of which is d of a cycle away, means 1/f + d.
// f is the mean of what is learned and of MixedFrequency's share, which errs otherwise: it counts
// the router's probabilities, and needs no learning where a run is short.
//
// What the votes of the paths say of the next turns is asked for once more whenever room is needed:
// by then it is known better whom this token is like.

#include "cache/forecast_frequency.h"
#include "cache/reuse_forecast.h"

namespace sluice {

class LearnedReuse final : public ForecastFrequency<ReuseForecast> {
 public:
  using ForecastFrequency::ForecastFrequency;
  std::string_view name() const override { return "learned"; }
  float worth(std::uint32_t layer, std::uint32_t index) const override {
    return (MixedFrequency::worth(layer, index) + forecast_.rate(index)) / 2;
  }
};

}  // namespace sluice

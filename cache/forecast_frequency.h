#pragma once
// The shares of MixedFrequency beside a forecast of what the next turns of an expert's layer want.
// An expert that is wanted at its layer's next turn with probability p, and else after 1/f turns as
// ever, is (1 - p) / f + d away.

#include "cache/mixed_frequency.h"

namespace sluice {

/// A `Forecast` is made for a shape, sees visits and touches as a WorthModel does, and gives an
/// expert's `share(layer, index)`: the probability p.
template <typename Forecast>
class ForecastFrequency : public MixedFrequency {
 public:
  explicit ForecastFrequency(const CacheShape& shape) : MixedFrequency(shape), forecast_(shape) {}
  void visit(std::uint32_t layer) override {
    MixedFrequency::visit(layer);
    forecast_.visit(layer);
  }
  void touch(std::uint32_t layer, std::uint32_t index, float score) override {
    MixedFrequency::touch(layer, index, score);
    forecast_.touch(layer, index);
  }
  float foreseen(std::uint32_t layer, std::uint32_t index) const override {
    return forecast_.share(layer, index);
  }

 protected:
  mutable Forecast forecast_;  // takes in a visit when it is asked about
};

}  // namespace sluice

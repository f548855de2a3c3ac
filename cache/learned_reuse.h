#pragma once
// Give up the expert whose next use is expected to be farthest away, as ReuseForecast has learned
// to tell: a share f of its layer's turns, the first of which is d of a cycle away, means 1/f + d.
// f is the mean of what is learned and of MixedFrequency's share, which errs otherwise: it counts
// the router's probabilities, and needs no learning where a run is short.
//
// What the votes of the paths say of the next turns is asked for once more whenever room is needed:
// by then it is known better whom this token is like.

#include "cache/mixed_frequency.h"
#include "cache/reuse_forecast.h"

namespace sluice {

class LearnedReuse final : public MixedFrequency {
 public:
  explicit LearnedReuse(const CacheShape& shape) : MixedFrequency(shape), forecast_(shape) {}
  std::string_view name() const override { return "learned"; }
  void visit(std::uint32_t layer) override {
    MixedFrequency::visit(layer);
    forecast_.visit(layer);
  }
  void touch(std::uint32_t layer, std::uint32_t index, float score) override {
    MixedFrequency::touch(layer, index, score);
    forecast_.touch(layer, index);
  }
  float worth(std::uint32_t layer, std::uint32_t index) const override {
    return (MixedFrequency::worth(layer, index) + forecast_.rate(index)) / 2;
  }
  float foreseen(std::uint32_t layer, std::uint32_t index) const override {
    return forecast_.share(layer, index);
  }

 private:
  mutable ReuseForecast forecast_;  // a visit is taken in when it is asked about
};

}  // namespace sluice

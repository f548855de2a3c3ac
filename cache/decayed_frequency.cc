#include "cache/decayed_frequency.h"

#include <cmath>
#include <limits>

namespace sluice {
namespace {

// Uses and visits that every expert is taken to have had: keeps 1/f finite, and matters only at the
// start.
constexpr float kPrior = 0.5f;

float decay(double half_life) { return static_cast<float>(std::exp2(-1 / half_life)); }

}  // namespace

DecayedFrequency::Tuning DecayedFrequency::lfu() {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  return {kNever, kNever, 0};
}

DecayedFrequency::DecayedFrequency(const CacheShape& shape) : DecayedFrequency(shape, Tuning{}) {}

DecayedFrequency::DecayedFrequency(const CacheShape& shape, const Tuning& tuning)
    : WorthModel(shape),
      fast_decay_(decay(tuning.fast_half_life)),
      slow_decay_(decay(tuning.slow_half_life)),
      fast_share_(static_cast<float>(tuning.fast_share)),
      visits_(shape.layers()),
      fast_uses_(shape.size()),
      slow_uses_(shape.size()) {}

void DecayedFrequency::visit(std::uint32_t layer) {
  Visits& visits = visits_[layer];
  visits.fast = visits.fast * fast_decay_ + 1;
  visits.slow = visits.slow * slow_decay_ + 1;
  for (std::uint32_t i = shape().first(layer); i < shape().first(layer + 1); ++i) {
    fast_uses_[i] *= fast_decay_;
    slow_uses_[i] *= slow_decay_;
  }
}

void DecayedFrequency::touch(std::uint32_t, std::uint32_t index, float) {
  fast_uses_[index] += 1;
  slow_uses_[index] += 1;
}

float DecayedFrequency::worth(std::uint32_t layer, std::uint32_t index) const {
  const Visits& visits = visits_[layer];
  return fast_share_ * (fast_uses_[index] + kPrior) / (visits.fast + kPrior) +
         (1 - fast_share_) * (slow_uses_[index] + kPrior) / (visits.slow + kPrior);
}

}  // namespace sluice

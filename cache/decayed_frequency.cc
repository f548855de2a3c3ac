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
    : shape_(shape),
      fast_decay_(decay(tuning.fast_half_life)),
      slow_decay_(decay(tuning.slow_half_life)),
      fast_share_(static_cast<float>(tuning.fast_share)),
      layers_(shape.layers()),
      fast_uses_(shape.size()),
      slow_uses_(shape.size()),
      resident_(shape.size()) {}

void DecayedFrequency::visit(std::uint32_t layer) {
  current_ = layer;
  Layer& state = layers_[layer];
  state.fast_visits = state.fast_visits * fast_decay_ + 1;
  state.slow_visits = state.slow_visits * slow_decay_ + 1;
  state.known = false;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    fast_uses_[i] *= fast_decay_;
    slow_uses_[i] *= slow_decay_;
  }
}

void DecayedFrequency::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  fast_uses_[index] += 1;
  slow_uses_[index] += 1;
  layers_[key.layer].known = false;
}

void DecayedFrequency::admit(CacheKey key, std::uint64_t) {
  resident_[shape_.index(key)] = 1;
  layers_[key.layer].known = false;
}

void DecayedFrequency::forget(CacheKey key) {
  resident_[shape_.index(key)] = 0;
  layers_[key.layer].known = false;
}

float DecayedFrequency::share(std::uint32_t layer, std::uint32_t index) const {
  const Layer& state = layers_[layer];
  return fast_share_ * (fast_uses_[index] + kPrior) / (state.fast_visits + kPrior) +
         (1 - fast_share_) * (slow_uses_[index] + kPrior) / (state.slow_visits + kPrior);
}

float DecayedFrequency::turns_until_use(std::uint32_t layer, float share) const {
  const std::uint32_t count = shape_.layers();
  // The layer being visited has had its turn: it is a whole cycle away.
  const std::uint32_t ahead = layer > current_ ? layer - current_ : layer + count - current_;
  return 1 / share + static_cast<float>(ahead) / static_cast<float>(count);
}

void DecayedFrequency::find_coldest(std::uint32_t layer, const Evictable& evictable) {
  Layer& state = layers_[layer];
  state.coldest = kNone;
  state.known = true;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    if (resident_[i] == 0) continue;
    const float wanted = share(layer, i);
    if (state.coldest != kNone && wanted >= state.share) continue;
    if (evictable(shape_.key(i))) {
      state.coldest = i;
      state.share = wanted;
    } else {
      // A minimum that leaves out an expert that must stay holds as long as that is pinned: not
      // remembered.
      state.known = false;
    }
  }
}

std::optional<CacheKey> DecayedFrequency::victim(const Evictable& evictable) {
  std::uint32_t best = kNone;
  float farthest = -1;
  for (std::uint32_t layer = 0; layer < shape_.layers(); ++layer) {
    const Layer& state = layers_[layer];
    const bool holds =
        state.known && (state.coldest == kNone || evictable(shape_.key(state.coldest)));
    if (!holds) find_coldest(layer, evictable);
    if (state.coldest == kNone) continue;
    const float turns = turns_until_use(layer, state.share);
    if (turns > farthest) {
      farthest = turns;
      best = state.coldest;
    }
  }
  if (best == kNone) return std::nullopt;
  return shape_.key(best);
}

double DecayedFrequency::distance(CacheKey key) const {
  return turns_until_use(key.layer, share(key.layer, shape_.index(key)));
}

}  // namespace sluice

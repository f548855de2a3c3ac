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

void DecayedFrequency::find_coldest(std::uint32_t layer, const Evictable& evictable) {
  Layer& state = layers_[layer];
  const float fast_weight = fast_share_ / (state.fast_visits + kPrior);
  const float slow_weight = (1 - fast_share_) / (state.slow_visits + kPrior);
  state.coldest = kNone;
  state.known = true;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    if (resident_[i] == 0) continue;
    const float share =
        fast_weight * (fast_uses_[i] + kPrior) + slow_weight * (slow_uses_[i] + kPrior);
    if (state.coldest != kNone && share >= state.share) continue;
    if (evictable(shape_.key(i))) {
      state.coldest = i;
      state.share = share;
    } else {
      // A minimum that leaves out a pinned expert is one only as long as the pin: not remembered.
      state.known = false;
    }
  }
}

std::optional<CacheKey> DecayedFrequency::victim(const Evictable& evictable) {
  const std::uint32_t count = shape_.layers();
  std::uint32_t best = kNone;
  float farthest = -1;
  for (std::uint32_t layer = 0; layer < count; ++layer) {
    const Layer& state = layers_[layer];
    const bool holds =
        state.known && (state.coldest == kNone || evictable(shape_.key(state.coldest)));
    if (!holds) find_coldest(layer, evictable);
    if (state.coldest == kNone) continue;
    // The layer being visited has had its turn: it is a whole cycle away.
    const std::uint32_t distance = layer > current_ ? layer - current_ : layer + count - current_;
    const float turns = 1 / state.share + static_cast<float>(distance) / static_cast<float>(count);
    if (turns > farthest) {
      farthest = turns;
      best = state.coldest;
    }
  }
  if (best == kNone) return std::nullopt;
  return shape_.key(best);
}

}  // namespace sluice

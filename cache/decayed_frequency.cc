#include "cache/decayed_frequency.h"

#include <cmath>

namespace sluice {
namespace {
// What an expert that was never wanted is taken to have been wanted: keeps 1/f finite, and matters
// only at the start.
constexpr double kPriorUses = 0.5;
}  // namespace

DecayedFrequency::DecayedFrequency(const CacheShape& shape, double half_life)
    : shape_(shape),
      decay_(half_life > 0 ? static_cast<float>(std::exp2(-1 / half_life)) : 1.0f),
      layers_(shape.layers()),
      uses_(shape.size()),
      resident_(shape.size()) {}

void DecayedFrequency::visit(std::uint32_t layer) {
  current_ = layer;
  layers_[layer].visits = layers_[layer].visits * decay_ + 1;
  layers_[layer].known = false;
  if (decay_ == 1) return;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) uses_[i] *= decay_;
}

void DecayedFrequency::touch(CacheKey key, float) {
  uses_[shape_.index(key)] += 1;
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

std::uint32_t DecayedFrequency::coldest(std::uint32_t layer, const Evictable& evictable) {
  Layer& state = layers_[layer];
  if (state.known && (state.coldest == kNone || evictable(shape_.key(state.coldest)))) {
    return state.coldest;
  }
  std::uint32_t best = kNone;
  bool all_evictable = true;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    if (!resident_[i] || (best != kNone && uses_[i] >= uses_[best])) continue;
    if (evictable(shape_.key(i))) {
      best = i;
    } else {
      all_evictable = false;
    }
  }
  // A minimum that leaves out a pinned expert holds only as long as the pin: not remembered.
  state.known = all_evictable;
  state.coldest = best;
  return best;
}

double DecayedFrequency::turns_until_use(std::uint32_t layer, std::uint32_t index) const {
  const std::uint32_t count = shape_.layers();
  // The layer being visited has had its turn: it is a whole cycle away.
  const std::uint32_t distance = layer > current_ ? layer - current_ : layer + count - current_;
  return (layers_[layer].visits + kPriorUses) / (uses_[index] + kPriorUses) +
         static_cast<double>(distance) / count;
}

std::optional<CacheKey> DecayedFrequency::victim(const Evictable& evictable) {
  std::uint32_t best = kNone;
  double farthest = -1;
  for (std::uint32_t layer = 0; layer < shape_.layers(); ++layer) {
    const std::uint32_t candidate = coldest(layer, evictable);
    if (candidate == kNone) continue;
    const double turns = turns_until_use(layer, candidate);
    if (turns > farthest) {
      farthest = turns;
      best = candidate;
    }
  }
  if (best == kNone) return std::nullopt;
  return shape_.key(best);
}

}  // namespace sluice

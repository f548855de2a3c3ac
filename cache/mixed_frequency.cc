#include "cache/mixed_frequency.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

// In visits of a layer, and how much of f each count makes. Tuned on two thirds of each of two
// recorded traces (32 experts of which a token takes 4, 128 and 6); flat around their best.
constexpr std::array kHalfLives{1.0, 8.0, 24.0, 512.0};
constexpr std::array kShares{0.3f, 0.2f, 0.5f, 0.1f};
constexpr std::size_t kSlow = 3;

// A use counts kPlainUse and kLikelyUse times its probability, as far as that says anything: beyond
// kSurelyWanted it is a large router's certainty or the sum over a prefill's rows.
constexpr float kPlainUse = 0.7f, kLikelyUse = 2, kSurelyWanted = 0.5f;
// Visits that every expert is taken to have had, and uses in them: keep 1/f finite.
constexpr float kPriorVisits = 0.5f, kPriorUses = 0.05f;

}  // namespace

MixedFrequency::MixedFrequency(const CacheShape& shape)
    : WorthModel(shape), decay_(), totals_(shape.layers()), uses_(shape.size()) {
  for (std::size_t clock = 0; clock < kClocks; ++clock) {
    decay_[clock] = static_cast<float>(std::exp2(-1 / kHalfLives[clock]));
  }
}

void MixedFrequency::visit(std::uint32_t layer) {
  Counts& totals = totals_[layer];
  for (std::size_t clock = 0; clock < kClocks; ++clock) {
    totals[clock] = totals[clock] * decay_[clock] + (clock == kSlow ? 0 : 1);
  }
  for (std::uint32_t i = shape().first(layer); i < shape().first(layer + 1); ++i) {
    for (std::size_t clock = 0; clock < kClocks; ++clock) uses_[i][clock] *= decay_[clock];
  }
}

void MixedFrequency::touch(std::uint32_t layer, std::uint32_t index, float score) {
  const float use = kPlainUse + kLikelyUse * std::min(score, kSurelyWanted);
  for (std::size_t clock = 0; clock < kSlow; ++clock) uses_[index][clock] += use;
  uses_[index][kSlow] += score;
  totals_[layer][kSlow] += score;
}

float MixedFrequency::worth(std::uint32_t layer, std::uint32_t index) const {
  const Counts &totals = totals_[layer], &uses = uses_[index];
  float share = 0;
  for (std::size_t clock = 0; clock < kClocks; ++clock) {
    share += kShares[clock] * (uses[clock] + kPriorUses) / (totals[clock] + kPriorVisits);
  }
  return share;
}

}  // namespace sluice

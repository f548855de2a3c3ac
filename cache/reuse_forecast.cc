#include "cache/reuse_forecast.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

constexpr std::array kHalfLives{1.0, 4.0, 16.0, 64.0};  // turns
// Turns that every expert is taken to have had, and uses in them, as in MixedFrequency.
constexpr float kPriorTurns = 0.5f, kPriorUses = 0.05f;
constexpr float kLeastShare = 0.02f;  // keeps its logarithm finite
// What was never wanted counts as wanted that long before the first turn.
constexpr std::uint32_t kNeverWanted = 8;
constexpr std::uint32_t kLogarithms = 1024;
// A rate has to tell apart even what is hopeless.
constexpr float kLeastRate = 1e-4f;

// Fitted to tokens of three recorded traces (32 experts of which a token takes 4, 128 and 6, 128
// and 2), of two of them to the first two thirds only, and rounded. kEvidence is their precision.
constexpr std::array kWeights{-1.1f, 0.05f, -0.05f, 1.2f, -0.75f, -0.2f, 0.2f, 2.0f, 1.8f, 0.5f};
constexpr double kEvidence = 1000;

}  // namespace

ReuseForecast::ReuseForecast(const CacheShape& shape)
    : shape_(shape),
      paths_(shape),
      learner_(kWeights, kEvidence),
      layers_(shape.layers()),
      uses_(shape.size()),
      rates_(shape.size(), kLeastRate),
      samples_(std::size_t{shape.layers()} * kHorizon * kSamples),
      logarithms_(kLogarithms) {
  std::uint32_t widest = 0;
  for (std::uint32_t layer = 0; layer < shape.layers(); ++layer) {
    widest = std::max(widest, shape.first(layer + 1) - shape.first(layer));
  }
  wanted_.reserve(widest);
  returns_.resize(widest);
  for (std::size_t clock = 0; clock < kClocks; ++clock) {
    decay_[clock] = static_cast<float>(std::exp2(-1 / kHalfLives[clock]));
  }
  for (std::uint32_t i = 0; i < kLogarithms; ++i)
    logarithms_[i] = std::log(static_cast<float>(i + 1));
}

void ReuseForecast::visit(std::uint32_t layer) {
  close_visit();
  if (layer <= current_) learner_.learn();
  paths_.visit(layer);
  current_ = layer;
  open_ = true;
  wanted_.clear();
}

void ReuseForecast::touch(std::uint32_t layer, std::uint32_t index) {
  if (layer != current_ || !open_) return;
  paths_.touch(layer, index);
  if (wanted_.size() < wanted_.capacity()) wanted_.push_back(index);
}

ReuseForecast::Learner::Vector ReuseForecast::features(const Layer& layer, const Uses& uses,
                                                       const RoutingPaths::Returns& returns) const {
  const auto logarithm = [this](std::uint32_t count) {
    return logarithms_[std::min(count, kLogarithms - 1)];
  };
  Learner::Vector all;
  std::size_t at = 0;
  all[at++] = 1;
  for (std::size_t clock = 0; clock < kClocks; ++clock) {
    const float share = (uses.counts[clock] + kPriorUses) / (layer.turns[clock] + kPriorTurns);
    all[at++] = std::log(share + kLeastShare) / 2;
  }
  const std::uint32_t age = layer.count - uses.last;
  all[at++] = logarithm(uses.total == 0 ? age + kNeverWanted : age) / 2;
  all[at++] = logarithm(uses.total) / 2;
  all[at++] = returns.next;
  all[at++] = returns.soon;
  all[at++] = returns.later;
  return all;
}

void ReuseForecast::close_visit() {
  if (!open_) return;
  open_ = false;
  Layer& layer = layers_[current_];
  const std::uint32_t first = shape_.first(current_);
  layer.count += 1;
  for (std::size_t clock = 0; clock < kClocks; ++clock) {
    layer.turns[clock] = layer.turns[clock] * decay_[clock] + 1;
  }
  for (std::uint32_t i = first; i < shape_.first(current_ + 1); ++i) {
    for (std::size_t clock = 0; clock < kClocks; ++clock) uses_[i].counts[clock] *= decay_[clock];
  }
  for (const std::uint32_t index : wanted_) {
    Uses& uses = uses_[index];
    for (float& count : uses.counts) count += 1;
    uses.total += 1;
    uses.last = layer.count;
  }
  const std::span returns(returns_.data(), shape_.first(current_ + 1) - first);
  paths_.count_returns(current_, returns);
  const bool is_path = wanted_.size() <= RoutingPaths::kWidest;
  if (is_path) judge_samples(layer);
  float unwanted = 0;
  for (std::uint32_t i = first; i < shape_.first(current_ + 1); ++i) {
    // What was never wanted is all alike.
    if (uses_[i].total == 0 && unwanted > 0) {
      rates_[i] = unwanted;
      continue;
    }
    const auto logit =
        static_cast<float>(learner_.logit(features(layer, uses_[i], returns[i - first])));
    // Turns that want it come like rain: at least one of the horizon's with the probability that
    // the learner names.
    const float soft = logit > 20 ? logit : std::log1p(std::exp(logit));
    rates_[i] = std::max(soft / kHorizon, kLeastRate);
    if (uses_[i].total == 0) unwanted = rates_[i];
  }
  if (is_path) take_samples(layer);
}

/// What was wanted within the horizon is known of the samples that are as old as it.
void ReuseForecast::judge_samples(Layer& layer) {
  for (std::uint32_t turn = 0; turn < kHorizon; ++turn) {
    for (Sample& sample : samples(current_, turn)) {
      sample.used |= uses_[sample.index].last == layer.count;
    }
  }
  for (Sample& sample : samples(current_, layer.sampled)) {
    if (sample.taken) learner_.add(sample.features, sample.used);
    sample.taken = false;
  }
}

/// All that were ever wanted, in turn.
void ReuseForecast::take_samples(Layer& layer) {
  const std::uint32_t first = shape_.first(current_), count = shape_.first(current_ + 1) - first;
  std::uint32_t seen = 0;
  for (Sample& sample : samples(current_, layer.sampled)) {
    while (seen < count && uses_[first + layer.next].total == 0) {
      layer.next = (layer.next + 1) % count;
      seen += 1;
    }
    if (seen++ >= count) break;
    const std::uint32_t index = first + layer.next;
    sample = {index, true, false, features(layer, uses_[index], returns_[layer.next])};
    layer.next = (layer.next + 1) % count;
  }
  layer.sampled += 1;
}

float ReuseForecast::rate(std::uint32_t index) {
  close_visit();
  return rates_[index];
}

float ReuseForecast::share(std::uint32_t layer, std::uint32_t index) {
  close_visit();
  return paths_.share(layer, index);
}

}  // namespace sluice

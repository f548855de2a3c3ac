#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice {

Status SamplerOptions::check() const {
  const auto within = [](float value, float least, float most) {
    return value >= least && value <= most;  // not so for NaN
  };
  const char* wrong = nullptr;
  if (!within(temperature, 0, std::numeric_limits<float>::max())) wrong = "temperature is below 0";
  if (!within(top_p, 0, 1)) wrong = "top_p is not between 0 and 1";
  if (!within(min_p, 0, 1)) wrong = "min_p is not between 0 and 1";
  if (!within(repeat_penalty, 1e-6f, 1e6f)) wrong = "repeat_penalty is not above 0";
  return wrong == nullptr ? Status() : Status(ErrorCode::kInvalidArgument, wrong);
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> history) {
  candidates_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    candidates_[i] = {logits[i], static_cast<TokenId>(i)};
  penalise(history);
  if (options_.temperature <= 0) {
    const auto better = [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; };
    return std::max_element(candidates_.begin(), candidates_.end(), better)->id;
  }
  keep_best();
  keep_probable();
  return draw();
}

void Sampler::penalise(std::span<const TokenId> history) {
  if (options_.repeat_penalty == 1.0f) return;
  const std::size_t window = std::min<std::size_t>(history.size(), options_.repeat_window);
  const auto recent = history.last(window);
  for (std::size_t i = 0; i < recent.size(); ++i) {
    const auto seen_before = recent.first(i);
    if (std::find(seen_before.begin(), seen_before.end(), recent[i]) != seen_before.end()) continue;
    float& logit = candidates_[static_cast<std::size_t>(recent[i])].logit;
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
  }
}

/// Sorts, best first, and keeps top_k.
void Sampler::keep_best() {
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const bool some = options_.top_k != 0 && options_.top_k < candidates_.size();
  const auto end = some ? candidates_.begin() + options_.top_k : candidates_.end();
  std::partial_sort(candidates_.begin(), end, candidates_.end(), before);
  candidates_.erase(end, candidates_.end());
}

/// top-p: the shortest run of the best whose probabilities reach p; min-p: those at least min_p
/// times as probable as the best.
void Sampler::keep_probable() {
  const float peak = candidates_.front().logit;
  double total = 0;
  weights_.clear();
  for (const Candidate& candidate : candidates_) {
    weights_.push_back(std::exp(static_cast<double>(candidate.logit) - peak));
    total += weights_.back();
  }
  std::size_t kept = candidates_.size();
  if (options_.top_p < 1.0f) {
    double sum = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      sum += weights_[i];
      if (sum >= options_.top_p * total) kept = i + 1;
    }
  }
  while (kept > 1 && weights_[kept - 1] < options_.min_p) --kept;
  candidates_.resize(kept);
}

TokenId Sampler::draw() {
  const float peak = candidates_.front().logit;
  double total = 0;
  weights_.clear();
  for (const Candidate& candidate : candidates_) {
    weights_.push_back(
        std::exp((static_cast<double>(candidate.logit) - peak) / options_.temperature));
    total += weights_.back();
  }
  // 53 random bits as a fraction: the library's distributions differ between implementations.
  double point = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    point -= weights_[i];
    if (point < 0) return candidates_[i].id;
  }
  return candidates_.back().id;
}

}  // namespace sluice

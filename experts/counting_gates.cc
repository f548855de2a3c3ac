#include "experts/counting_gates.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr float kForgetting = 1.0f / 256;  // of a layer's visits
constexpr float kPrior = 4;                // visits in which nothing but popularity was seen

}  // namespace

PopularityGate::PopularityGate(const GateShape& shape)
    : shape_(shape), uses_(std::size_t{shape.layers} * shape.experts) {}

std::span<const float> PopularityGate::uses(std::uint32_t layer) const {
  return {uses_.data() + std::size_t{layer} * shape_.experts, shape_.experts};
}

bool PopularityGate::predict(const GateEvidence&, std::uint32_t target) {
  target_ = target;
  return true;
}

void PopularityGate::rank(std::size_t, std::span<std::uint32_t> likely) {
  rank_scores(uses(target_), likely);
}

void PopularityGate::learn(const GateEvidence& evidence) {
  float* const uses = uses_.data() + std::size_t{evidence.layer} * shape_.experts;
  for (std::size_t row = 0; row < evidence.rows; ++row) {
    for (std::size_t i = 0; i < shape_.experts; ++i) uses[i] *= 1 - kForgetting;
    const std::uint32_t* const chosen = evidence.chosen + row * shape_.top_k;
    for (std::size_t i = 0; i < shape_.top_k; ++i) uses[chosen[i]] += kForgetting;
  }
}

LastChoiceGate::LastChoiceGate(const GateShape& shape)
    : shape_(shape),
      popularity_(shape),
      last_(std::size_t{shape.layers} * shape.top_k),
      seen_(shape.layers),
      scores_(shape.experts) {}

bool LastChoiceGate::predict(const GateEvidence& evidence, std::uint32_t target) {
  popularity_.predict(evidence, target);
  const std::span<const float> uses = popularity_.uses(target);
  std::copy(uses.begin(), uses.end(), scores_.begin());
  const std::uint32_t* const last = last_.data() + std::size_t{target} * shape_.top_k;
  for (std::size_t rank = 0; rank < shape_.top_k; ++rank) {
    scores_[last[rank]] += static_cast<float>(shape_.top_k - rank);
  }
  return seen_[target];
}

void LastChoiceGate::rank(std::size_t, std::span<std::uint32_t> likely) {
  rank_scores(scores_, likely);
}

void LastChoiceGate::learn(const GateEvidence& evidence) {
  popularity_.learn(evidence);
  const std::uint32_t* const chosen = evidence.chosen + (evidence.rows - 1) * shape_.top_k;
  std::copy_n(chosen, shape_.top_k, last_.data() + std::size_t{evidence.layer} * shape_.top_k);
  seen_[evidence.layer] = true;
}

AffinityGate::AffinityGate(const GateShape& shape, std::uint32_t ahead)
    : shape_(shape),
      ahead_(ahead),
      popularity_(shape),
      together_(std::size_t{shape.layers} * shape.experts * shape.experts),
      times_(std::size_t{shape.layers} * shape.experts),
      chosen_(shape.layers),
      scores_(shape.experts) {}

bool AffinityGate::predict(const GateEvidence& evidence, std::uint32_t target) {
  target_ = target;
  evidence_ = evidence.chosen;
  return evidence_ != nullptr && target == evidence.layer + ahead_;
}

void AffinityGate::rank(std::size_t row, std::span<std::uint32_t> likely) {
  const std::span<const float> uses = popularity_.uses(target_);
  std::fill(scores_.begin(), scores_.end(), 0.0f);
  const std::uint32_t* const chosen = evidence_ + row * shape_.top_k;
  for (std::size_t i = 0; i < shape_.top_k; ++i) {
    const float* const counts = together(target_, chosen[i]);
    const float times = times_[std::size_t{target_} * shape_.experts + chosen[i]];
    for (std::size_t e = 0; e < shape_.experts; ++e) {
      scores_[e] += (counts[e] + kPrior * uses[e]) / (times + kPrior);
    }
  }
  rank_scores(scores_, likely);
}

void AffinityGate::learn(const GateEvidence& evidence) {
  popularity_.learn(evidence);
  const std::size_t count = evidence.rows * shape_.top_k;
  chosen_[evidence.layer].assign(evidence.chosen, evidence.chosen + count);
  if (evidence.layer < ahead_ || chosen_[evidence.layer - ahead_].size() != count) return;
  const std::uint32_t* const earlier = chosen_[evidence.layer - ahead_].data();
  float* const times = times_.data() + std::size_t{evidence.layer} * shape_.experts;
  for (std::size_t row = 0; row < evidence.rows; ++row) {
    for (std::size_t i = 0; i < shape_.top_k; ++i) {
      const std::uint32_t before = earlier[row * shape_.top_k + i];
      float* const counts = together(evidence.layer, before);
      times[before] += 1;
      for (std::size_t k = 0; k < shape_.top_k; ++k) {
        counts[evidence.chosen[row * shape_.top_k + k]] += 1;
      }
    }
  }
}

}  // namespace sluice

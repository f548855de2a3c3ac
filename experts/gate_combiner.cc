#include "experts/gate_combiner.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

constexpr float kLongest = 1024;    // rows over which a place's share is averaged
constexpr float kLearning = 0.02f;  // step of the weights
constexpr float kSurest = 0.999f;

float logit(float share) {
  const float p = std::clamp(share, 1 - kSurest, kSurest);
  return std::log(p / (1 - p));
}

float logistic(float x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

GateCombiner::GateCombiner(const GateShape& shape,
                           std::vector<std::unique_ptr<GatePredictor>> members)
    : shape_(shape),
      width_(std::min(shape.experts, 2 * shape.top_k)),
      members_(std::move(members)),
      guesses_(shape.layers),
      trusts_(shape.layers),
      places_(members_.size() * shape.experts),
      listed_(shape.experts),
      chosen_(shape.experts),
      scores_(shape.experts) {
  const std::size_t sets = std::size_t{1} << members_.size();
  for (Trust& trust : trusts_) {
    trust.hits.resize(members_.size() * (width_ + 1));
    trust.weights.resize(sets * members_.size());
    for (std::size_t member = 0; member < members_.size(); ++member) {
      for (std::size_t place = 0; place < width_; ++place) {
        trust.hits[member * (width_ + 1) + place] = place < shape.top_k ? 0.5f : 0.1f;
      }
      trust.hits[member * (width_ + 1) + width_] = 0.5f / static_cast<float>(shape.experts);
    }
    for (std::size_t set = 1; set < sets; ++set) {
      const auto speakers = static_cast<float>(__builtin_popcountll(set));
      std::fill_n(trust.weights.begin() + static_cast<std::ptrdiff_t>(set * members_.size()),
                  members_.size(), 1 / speakers);
    }
  }
  for (Guess& guess : guesses_) guess.asked.reserve(members_.size());
  union_.reserve(shape.experts);
  probabilities_.reserve(shape.experts);
}

bool GateCombiner::predict(const GateEvidence& evidence, std::uint32_t target) {
  if (target >= shape_.layers) return false;
  target_ = target;
  Guess& guess = guesses_[target];
  if (guess.rows != evidence.rows) forget(guess);
  guess.rows = evidence.rows;
  guess.likely.resize(members_.size() * evidence.rows * width_);
  for (std::size_t member = 0; member < members_.size(); ++member) {
    if (!members_[member]->predict(evidence, target)) continue;
    guess.spoke |= 1u << member;
    for (std::size_t row = 0; row < evidence.rows; ++row) {
      members_[member]->rank(
          row, std::span(guess.likely).subspan((member * evidence.rows + row) * width_, width_));
    }
  }
  if (guess.spoke == 0) return false;
  if (std::ranges::find(guess.asked, guess.spoke) == guess.asked.end()) {
    guess.asked.push_back(guess.spoke);
  }
  return true;
}

void GateCombiner::forget(Guess& guess) {
  guess.rows = 0;
  guess.spoke = 0;
  guess.asked.clear();
}

/// Where each member has put each expert.
void GateCombiner::place(const Guess& guess, std::size_t row) {
  std::fill(places_.begin(), places_.end(), static_cast<std::uint16_t>(width_));
  union_.clear();
  for (std::size_t member = 0; member < members_.size(); ++member) {
    if ((guess.spoke >> member & 1) == 0) continue;
    const std::uint32_t* const likely = guess.likely.data() + (member * guess.rows + row) * width_;
    for (std::size_t place = 0; place < width_; ++place) {
      places_[member * shape_.experts + likely[place]] = static_cast<std::uint16_t>(place);
      if (listed_[likely[place]]) continue;
      listed_[likely[place]] = true;
      union_.push_back(likely[place]);
    }
  }
  for (const std::uint32_t expert : union_) listed_[expert] = false;
}

float GateCombiner::mix(const Trust& trust, std::uint32_t spoke, std::uint32_t expert) {
  const float* const weights = trust.weights.data() + spoke * members_.size();
  float sum = 0;
  for (std::size_t member = 0; member < members_.size(); ++member) {
    evidence_[member] = 0;
    if ((spoke >> member & 1) == 0) continue;
    const std::size_t place = places_[member * shape_.experts + expert];
    evidence_[member] = logit(trust.hits[member * (width_ + 1) + place]);
    sum += weights[member] * evidence_[member];
  }
  return logistic(sum);
}

void GateCombiner::rank(std::size_t row, std::span<std::uint32_t> likely) {
  const Guess& guess = guesses_[target_];
  place(guess, row);
  std::fill(scores_.begin(), scores_.end(), 0.0f);
  for (const std::uint32_t expert : union_) {
    scores_[expert] = mix(trusts_[target_], guess.spoke, expert);
  }
  rank_scores(scores_, likely);
  probabilities_.clear();
  for (const std::uint32_t expert : likely) probabilities_.push_back(scores_[expert]);
}

void GateCombiner::learn(const GateEvidence& evidence) {
  Guess& guess = guesses_[evidence.layer];
  Trust& trust = trusts_[evidence.layer];
  if (guess.spoke != 0 && guess.rows == evidence.rows) {
    for (std::size_t row = 0; row < evidence.rows; ++row) {
      const std::span chosen(evidence.chosen + row * shape_.top_k, shape_.top_k);
      for (const std::uint32_t expert : chosen) chosen_[expert] = true;
      place(guess, row);
      for (const std::uint32_t asked : guess.asked) {
        float* const weights = trust.weights.data() + asked * members_.size();
        for (const std::uint32_t expert : union_) {
          const float error = (chosen_[expert] ? 1.0f : 0.0f) - mix(trust, asked, expert);
          for (std::size_t member = 0; member < members_.size(); ++member) {
            weights[member] += kLearning * error * evidence_[member];
          }
        }
      }
      trust.seen = std::min(trust.seen + 1, kLongest);
      for (std::size_t member = 0; member < members_.size(); ++member) {
        if ((guess.spoke >> member & 1) == 0) continue;
        float* const hits = trust.hits.data() + member * (width_ + 1);
        std::size_t found = 0;
        const std::uint32_t* const likely =
            guess.likely.data() + (member * guess.rows + row) * width_;
        for (std::size_t place = 0; place < width_; ++place) {
          found += chosen_[likely[place]];
          hits[place] += ((chosen_[likely[place]] ? 1.0f : 0.0f) - hits[place]) / trust.seen;
        }
        if (width_ < shape_.experts) {
          const float others = static_cast<float>(shape_.top_k - found) /
                               static_cast<float>(shape_.experts - width_);
          hits[width_] += (others - hits[width_]) / trust.seen;
        }
      }
      for (const std::uint32_t expert : chosen) chosen_[expert] = false;
    }
  }
  forget(guess);
  for (const auto& member : members_) member->learn(evidence);
}

}  // namespace sluice

#include "layers/router.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/canonical.h"

namespace sluice {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// The best so far of a row: a short sorted list, at most a dozen long.
class Ranking {
 public:
  Ranking(std::uint32_t length, std::uint32_t* ids, float* scores)
      : length_(length), ids_(ids), scores_(scores) {}

  void consider(std::uint32_t expert, float score) {
    if (found_ == length_ && !(score > scores_[found_ - 1])) return;
    std::uint32_t place = found_ < length_ ? found_++ : found_ - 1;
    for (; place > 0 && score > scores_[place - 1]; --place) {
      scores_[place] = scores_[place - 1];
      ids_[place] = ids_[place - 1];
    }
    scores_[place] = score;
    ids_[place] = expert;
  }

 private:
  std::uint32_t length_;
  std::uint32_t* ids_;
  float* scores_;
  std::uint32_t found_ = 0;
};

float selection_score(std::span<const float> scores, const float* bias, std::size_t expert) {
  return bias == nullptr ? scores[expert] : scores[expert] + bias[expert];
}

}  // namespace

void Router::choose(std::span<float> scores, const float* selection_bias, std::uint32_t* ids,
                    float* weights) {
  if (router_.score == RouterScore::kSparsemixer) {
    choose_to_mix(scores, ids);
  } else {
    score(scores);
    const std::size_t group_size = scores.size() / router_.group_count;
    const auto chosen = [&](std::size_t expert) {
      return selection_score(scores, selection_bias, expert);
    };
    if (router_.groups == RouterGroups::kOneEach) {
      for (std::size_t group = 0; group < router_.group_count; ++group) {
        Ranking best(1, ids + group, weights + group);
        for (std::size_t i = group * group_size; i < (group + 1) * group_size; ++i) {
          best.consider(static_cast<std::uint32_t>(i), chosen(i));
        }
      }
    } else {
      Ranking best(router_.top_k, ids, weights);
      rank_groups(scores, selection_bias);
      for (std::size_t group = 0; group < router_.group_count; ++group) {
        if (router_.groups != RouterGroups::kNone && !group_is_used(group)) continue;
        for (std::size_t i = group * group_size; i < (group + 1) * group_size; ++i) {
          best.consider(static_cast<std::uint32_t>(i), chosen(i));
        }
      }
    }
  }
  weigh(scores, {ids, router_.top_k}, weights);
}

void Router::weigh(std::span<const float> scores, std::span<const std::uint32_t> ids,
                   float* weights) const {
  for (std::size_t rank = 0; rank < ids.size(); ++rank) {
    weights[rank] = router_.score == RouterScore::kSparsemixer
                        ? mixing_weight(scores, ids.first(rank), ids[rank])
                        : scores[ids[rank]];
  }
  float sum = 1.0f;
  if (router_.renormalise) {
    sum = 0;
    for (std::size_t rank = 0; rank < ids.size(); ++rank) sum += weights[rank];
    // Sigmoids of very low scores can all be 0.
    if (sum == 0) sum = 1.0f;
  }
  for (std::size_t rank = 0; rank < ids.size(); ++rank) {
    weights[rank] = weights[rank] / sum * router_.scale;
  }
}

void Router::score(std::span<float> scores) const {
  if (router_.score == RouterScore::kSigmoid) {
    for (float& score : scores) score = 1.0f / (1.0f + canonical_exp(-score));
    return;
  }
  const float peak = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (float& score : scores) {
    score = canonical_exp(score - peak);
    sum += score;
  }
  for (float& score : scores) score /= sum;
}

void Router::rank_groups(std::span<const float> scores, const float* selection_bias) {
  if (router_.groups != RouterGroups::kBest && router_.groups != RouterGroups::kBestTwo) return;
  const std::size_t size = scores.size() / router_.group_count;
  for (std::size_t group = 0; group < router_.group_count; ++group) {
    float first = kLowest, second = kLowest;
    for (std::size_t i = group * size; i < (group + 1) * size; ++i) {
      const float score = selection_score(scores, selection_bias, i);
      second = std::max(second, std::min(first, score));
      first = std::max(first, score);
    }
    const bool both = router_.groups == RouterGroups::kBestTwo && size > 1;
    group_scores_[group] = both ? first + second : first;
  }
}

/// Fewer than `groups_used` groups are better; of equal ones the earlier.
bool Router::group_is_used(std::size_t group) const {
  std::size_t better = 0;
  for (std::size_t other = 0; other < group_scores_.size(); ++other) {
    better += group_scores_[other] > group_scores_[group] ||
              (group_scores_[other] == group_scores_[group] && other < group);
  }
  return better < router_.groups_used;
}

bool Router::allows(std::uint32_t expert, std::uint32_t chosen) const {
  const std::size_t size = router_.experts / router_.group_count;
  switch (router_.groups) {
    case RouterGroups::kNone:
      return true;
    case RouterGroups::kOneEach:
      return expert / size == chosen / size;
    case RouterGroups::kBest:
    case RouterGroups::kBestTwo:
      return group_is_used(expert / size);
  }
  return false;
}

/// The best, time and again; of equal ones the lower id.
void Router::choose_to_mix(std::span<const float> logits, std::uint32_t* ids) const {
  for (std::uint32_t rank = 0; rank < router_.top_k; ++rank) {
    float peak = kLowest;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (std::find(ids, ids + rank, i) != ids + rank || !(logits[i] > peak)) continue;
      peak = logits[i];
      ids[rank] = static_cast<std::uint32_t>(i);
    }
  }
}

/// Sparsemixer (Liu et al. 2023) as it is at inference: each choice is weighed by the softmax of
/// the logits that come within 2 · jitter of it, relative to the larger magnitude of the two, less
/// those of what was taken before.
float Router::mixing_weight(std::span<const float> logits, std::span<const std::uint32_t> before,
                            std::uint32_t expert) const {
  const float peak = logits[expert];
  float sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float magnitude = std::max(std::fabs(logits[i]), peak);
    if (std::ranges::find(before, i) != before.end() ||
        (peak - logits[i]) / magnitude > 2 * router_.jitter) {
      continue;
    }
    sum += canonical_exp(logits[i] - peak);
  }
  return 1.0f / sum;
}

}  // namespace sluice

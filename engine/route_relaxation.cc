#include "engine/route_relaxation.h"

#include <algorithm>
#include <cmath>

#include "base/canonical.h"
#include "layers/routing_observer.h"

namespace sluice {
namespace {

constexpr std::uint32_t kNobody = ~0u;

}  // namespace

RouteRelaxation::RouteRelaxation(const RouterDescription& router, std::vector<float> skip_limits,
                                 float margin)
    : router_(router),
      skip_limits_(std::move(skip_limits)),
      margin_(margin),
      weigher_(router),
      decided_(router.experts) {}

void RouteRelaxation::relax(const RoutedRows& routed) {
  taken_.assign(routed.rows, router_.top_k);
  changed_.assign(routed.rows, 0);
  statistics_.chosen += routed.rows * router_.top_k;
  if (skip_limits_[routed.layer] > 0) {
    for (std::size_t row = 0; row < routed.rows; ++row) skip(routed, row);
  }
  if (margin_ > 0) prefer_resident(routed);
  for (std::size_t row = 0; row < routed.rows; ++row) {
    if (changed_[row] != 0) weigh(routed, row);
  }
}

void RouteRelaxation::skip(const RoutedRows& routed, std::size_t row) {
  std::uint32_t* const ids = routed.ids + row * router_.top_k;
  float* const weights = routed.weights + row * router_.top_k;
  const float sum = weight_sum({weights, router_.top_k});
  const auto weaker = [](float a, float b) { return std::fabs(a) < std::fabs(b); };
  std::uint32_t taken = router_.top_k;
  float left_out = 0;
  while (taken > 1) {
    // Of equal ones the last.
    const float* weakest = weights + taken - 1;
    for (const float* weight = weakest; weight-- != weights;) {
      if (weaker(*weight, *weakest)) weakest = weight;
    }
    const float more = left_out + std::fabs(*weakest) / sum;
    if (!(more <= skip_limits_[routed.layer])) break;
    left_out = more;
    const auto rank = weakest - weights;
    std::copy(ids + rank + 1, ids + taken, ids + rank);
    std::copy(weights + rank + 1, weights + taken, weights + rank);
    --taken;
  }
  if (taken == router_.top_k) return;
  statistics_.skipped += router_.top_k - taken;
  statistics_.squared_shares += double{left_out} * left_out;
  taken_[row] = taken;
  changed_[row] = 1;
}

void RouteRelaxation::prefer_resident(const RoutedRows& routed) {
  std::fill(decided_.begin(), decided_.end(), std::uint8_t{0});
  for (std::size_t row = 0; row < routed.rows; ++row) {
    for (std::size_t rank = 0; rank < taken_[row]; ++rank) {
      const std::uint32_t expert = routed.ids[row * router_.top_k + rank];
      if (routed.resident[expert] != 0 || decided_[expert] != 0) continue;
      decided_[expert] = 1;
      replace_everywhere(routed, expert);
    }
  }
}

/// All rows or none: one that cannot do without has it read for all.
void RouteRelaxation::replace_everywhere(const RoutedRows& routed, std::uint32_t missing) {
  replacements_.clear();
  for (std::size_t row = 0; row < routed.rows; ++row) {
    const std::uint32_t* const ids = routed.ids + row * router_.top_k;
    const std::uint32_t* const end = ids + taken_[row];
    const std::uint32_t* const found = std::find(ids, end, missing);
    if (found == end) continue;
    const std::uint32_t expert = find_replacement(routed, row, missing);
    if (expert == kNobody) return;
    replacements_.push_back({static_cast<std::size_t>(found - routed.ids), expert});
  }
  for (const Replacement& replacement : replacements_) {
    routed.ids[replacement.place] = replacement.expert;
    changed_[replacement.place / router_.top_k] = 1;
  }
  statistics_.replaced += replacements_.size();
}

/// The best that is in memory, near enough and not the row's already; of equal ones the lower id.
std::uint32_t RouteRelaxation::find_replacement(const RoutedRows& routed, std::size_t row,
                                                std::uint32_t missing) {
  const std::span<const float> scores = scores_of(routed, row);
  const std::uint32_t* const ids = routed.ids + row * router_.top_k;
  const auto near = [&](std::uint32_t expert) {
    if (router_.score == RouterScore::kSparsemixer) {  // whose scores are logits
      return canonical_exp(scores[expert] - scores[missing]) >= 1 - margin_;
    }
    return scores[expert] >= (1 - margin_) * scores[missing];
  };
  weigher_.rank_groups(scores, routed.selection_bias);
  std::uint32_t best = kNobody;
  for (std::uint32_t expert = 0; expert < router_.experts; ++expert) {
    if (routed.resident[expert] == 0 || !near(expert)) continue;
    if (best != kNobody && !(scores[expert] > scores[best])) continue;
    if (std::find(ids, ids + taken_[row], expert) != ids + taken_[row]) continue;
    if (weigher_.allows(expert, missing)) best = expert;
  }
  return best;
}

void RouteRelaxation::weigh(const RoutedRows& routed, std::size_t row) {
  std::uint32_t* const ids = routed.ids + row * router_.top_k;
  float* const weights = routed.weights + row * router_.top_k;
  const std::size_t taken = taken_[row];
  weigher_.weigh(scores_of(routed, row), {ids, taken}, weights);
  if (routed.expert_scale != nullptr) {
    for (std::size_t rank = 0; rank < taken; ++rank) {
      weights[rank] *= routed.expert_scale[ids[rank]];
    }
  }
  std::fill(ids + taken, ids + router_.top_k, ids[0]);
  std::fill(weights + taken, weights + router_.top_k, 0.0f);
}

}  // namespace sluice

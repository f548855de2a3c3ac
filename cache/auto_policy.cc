#include "cache/auto_policy.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cache/decayed_frequency.h"
#include "cache/layered_policy.h"
#include "cache/learned_reuse.h"
#include "cache/lru.h"
#include "cache/part_worth.h"

namespace sluice {
namespace {

// A lead of that many standard deviations, and of that many misses, is no accident.
constexpr double kSure = 3, kLeastLead = 32;
// More differences than that are not remembered in full. Who lags may catch up the sooner.
constexpr double kMostOfALeader = 16384, kMostOfALaggard = 2048;

}  // namespace

AutoPolicy::AutoPolicy(const CacheShape& shape) : shape_(shape), sizes_(shape.size()) {
  const auto add = [&](std::unique_ptr<CachePolicy> policy, std::unique_ptr<CachePolicy> ghost) {
    candidates_.push_back(
        {std::move(policy), std::make_unique<GhostCache>(shape, std::move(ghost))});
  };
  const auto add_model = [&](const std::shared_ptr<WorthModel>& model) {
    add(std::make_unique<LayeredPolicy>(shape, model),
        std::make_unique<LayeredPolicy>(shape, model, false));
  };
  add_model(make_worth<LearnedReuse>(shape));
  add_model(make_worth<DecayedFrequency>(shape, DecayedFrequency::lfu()));
  add(std::make_unique<Lru>(shape), std::make_unique<Lru>(shape));
}

void AutoPolicy::visit(std::uint32_t layer) {
  close_visit();
  if (layer <= current_) choose();
  current_ = layer;
  for (Candidate& candidate : candidates_) {
    candidate.policy->visit(layer);
    candidate.ghost->visit(layer);
  }
}

void AutoPolicy::touch(CacheKey key, float score) {
  wanted_.push_back(key);
  for (Candidate& candidate : candidates_) {
    candidate.policy->touch(key, score);
    candidate.ghost->touch(key, score);
  }
}

/// Until the cache is full the ghosts hold what it holds.
void AutoPolicy::admit(CacheKey key, std::uint64_t bytes) {
  sizes_[shape_.index(key)] = bytes;
  resident_bytes_ += bytes;
  capacity_ = capacity_ == 0 ? 0 : std::max(capacity_, resident_bytes_);
  for (Candidate& candidate : candidates_) {
    candidate.policy->admit(key, bytes);
    if (capacity_ == 0) candidate.ghost->admit(key, bytes);
  }
}

void AutoPolicy::forget(CacheKey key) {
  resident_bytes_ -= sizes_[shape_.index(key)];
  for (Candidate& candidate : candidates_) {
    candidate.policy->forget(key);
    if (capacity_ == 0) candidate.ghost->forget(key);
  }
}

void AutoPolicy::expect(CacheKey key, float probability) {
  for (Candidate& candidate : candidates_) candidate.policy->expect(key, probability);
}

std::optional<CacheKey> AutoPolicy::victim(const Evictable& evictable) {
  capacity_ = std::max(capacity_, resident_bytes_);
  return candidates_[chosen_].policy->victim(evictable);
}

double AutoPolicy::distance(CacheKey key) const {
  return candidates_[chosen_].policy->distance(key);
}

void AutoPolicy::close_visit() {
  if (capacity_ > 0) {
    compare();
    for (Candidate& candidate : candidates_) candidate.ghost->load(wanted_, sizes_, capacity_);
  }
  wanted_.clear();
}

void AutoPolicy::compare() {
  const GhostCache& charged = *candidates_[chosen_].ghost;
  for (const CacheKey key : wanted_) {
    const bool met = charged.holds(key);
    for (Candidate& candidate : candidates_) {
      const bool would_be = candidate.ghost->holds(key);
      candidate.better += would_be && !met ? 1 : 0;
      candidate.worse += met && !would_be ? 1 : 0;
    }
  }
}

void AutoPolicy::choose() {
  std::size_t best = chosen_;
  double most = 0;
  for (std::size_t which = 0; which < candidates_.size(); ++which) {
    Candidate& candidate = candidates_[which];
    const double lead = candidate.better - candidate.worse;
    const double differences = candidate.better + candidate.worse;
    if (differences > (lead > 0 ? kMostOfALeader : kMostOfALaggard)) {
      candidate.better /= 2;
      candidate.worse /= 2;
    }
    const double chance = kSure * std::sqrt(differences);
    if (lead <= std::max({most, chance, kLeastLead})) continue;
    most = lead;
    best = which;
  }
  if (best == chosen_) return;
  chosen_ = best;
  for (Candidate& candidate : candidates_) candidate.better = candidate.worse = 0;
}

}  // namespace sluice

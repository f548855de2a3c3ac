#include "cache/routing_paths.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace sluice {

RoutingPaths::RoutingPaths(const CacheShape& shape)
    : shape_(shape),
      stretches_(std::size_t{shape.layers()} * kPaths),
      likeness_(kPaths),
      asked_(shape.layers()),
      counted_(shape.layers()),
      votes_(shape.size()) {
  std::uint32_t widest = 0;
  for (std::uint32_t layer = 0; layer < shape.layers(); ++layer) {
    widest = std::max(widest, shape.first(layer + 1) - shape.first(layer));
  }
  wanted_.resize(widest);
  voters_.reserve(kVoters);
  ranking_.reserve(kPaths);
}

void RoutingPaths::visit(std::uint32_t layer) {
  close_visit();
  if (visits_ > 0 && layer <= current_) begin_path();
  visits_ += 1;
  current_ = layer;
  touches_ = 0;
  open_ = true;
  stretch(layer, path_).count = 0;
}

void RoutingPaths::touch(std::uint32_t layer, std::uint32_t index) {
  if (layer != current_ || !open_) return;
  Stretch& here = stretch(current_, path_);
  if (touches_ < kWidest) {
    here.experts[touches_] = static_cast<std::uint16_t>(index - shape_.first(current_));
  }
  touches_ += 1;
  here.count = touches_ <= kWidest ? touches_ : 0;
}

/// What is like this path now will be followed by what is like its successor.
void RoutingPaths::begin_path() {
  std::rotate(likeness_.begin(), likeness_.end() - 1, likeness_.end());
  path_ = (path_ + 1) % kPaths;
  stored_ = std::min(stored_ + 1, kPaths - 1);
  likeness_[path_] = 0;
  for (std::uint32_t layer = 0; layer < shape_.layers(); ++layer) stretch(layer, path_).count = 0;
}

/// The cosine of the two choices joins what the layers before have said.
void RoutingPaths::close_visit() {
  if (!open_) return;
  open_ = false;
  const Stretch& here = stretch(current_, path_);
  if (here.count == 0) return;
  for (std::uint32_t i = 0; i < here.count; ++i) wanted_[here.experts[i]] = 1;
  for (std::uint32_t back = 1; back <= stored_; ++back) {
    const std::uint32_t path = (path_ + kPaths - back) % kPaths;
    const Stretch& other = stretch(current_, path);
    std::uint32_t shared = 0;
    for (std::uint32_t i = 0; i < other.count; ++i) shared += wanted_[other.experts[i]];
    float& likeness = likeness_[path];
    likeness *= kMemory;
    if (shared == 0) continue;
    likeness += static_cast<float>(shared) /
                std::sqrt(static_cast<float>(here.count) * static_cast<float>(other.count));
  }
  for (std::uint32_t i = 0; i < here.count; ++i) wanted_[here.experts[i]] = 0;
}

void RoutingPaths::choose_voters() {
  voters_chosen_ = visits_;
  voters_.clear();
  ranking_.clear();
  for (std::uint32_t back = 1; back <= stored_; ++back) {
    const std::uint32_t path = (path_ + kPaths - back) % kPaths;
    if (likeness_[path] > 0) ranking_.emplace_back(likeness_[path], path);
  }
  const std::size_t count = std::min<std::size_t>(kVoters, ranking_.size());
  std::partial_sort(ranking_.begin(), ranking_.begin() + static_cast<std::ptrdiff_t>(count),
                    ranking_.end(), std::greater<>());
  float sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    // At most 1 / (1 - kMemory) layers' worth: e^10.
    const float weight = std::expm1(ranking_[i].first);
    voters_.push_back({ranking_[i].second, weight});
    sum += weight;
  }
  scale_ = 1 / (sum + kAbstentions);
}

float RoutingPaths::votes_for(std::uint32_t layer, std::uint16_t expert) {
  float votes = 0;
  for (const Voter& voter : voters_) {
    const Stretch& chosen = choice(voter, layer);
    for (std::uint32_t i = 0; i < chosen.count; ++i) {
      if (chosen.experts[i] == expert) votes += voter.weight;
    }
  }
  return votes;
}

void RoutingPaths::count_votes(std::uint32_t layer) {
  counted_[layer] = visits_;
  float* const votes = votes_.data() + shape_.first(layer);
  std::fill_n(votes, shape_.first(layer + 1) - shape_.first(layer), 0.0f);
  for (const Voter& voter : voters_) {
    const Stretch& chosen = choice(voter, layer);
    for (std::uint32_t i = 0; i < chosen.count; ++i) votes[chosen.experts[i]] += voter.weight;
  }
}

float RoutingPaths::share(std::uint32_t layer, std::uint32_t index) {
  if (open_) close_visit();
  if (voters_chosen_ != visits_) choose_voters();
  if (voters_.empty()) return 0;
  // Mostly one expert of a layer is asked for, its coldest; all are only counted if there are more.
  if (asked_[layer] != visits_) {
    asked_[layer] = visits_;
    return votes_for(layer, static_cast<std::uint16_t>(index - shape_.first(layer))) * scale_;
  }
  if (counted_[layer] != visits_) count_votes(layer);
  return votes_[index] * scale_;
}

}  // namespace sluice

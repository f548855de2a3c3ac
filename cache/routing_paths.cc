#include "cache/routing_paths.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace sluice {
namespace {

constexpr std::uint64_t bit(std::uint32_t path) { return std::uint64_t{1} << (path % 64); }

}  // namespace

RoutingPaths::RoutingPaths(const CacheShape& shape)
    : shape_(shape),
      stretches_(std::size_t{shape.layers()} * kPaths),
      takers_(shape.size()),
      likeness_(kPaths),
      asked_(shape.layers()),
      counted_(shape.layers()),
      votes_(shape.size()) {
  std::uint32_t widest = 0;
  for (std::uint32_t layer = 0; layer < shape.layers(); ++layer) {
    widest = std::max(widest, shape.first(layer + 1) - shape.first(layer));
  }
  seen_.resize(widest);
  voters_.reserve(kVoters + 1);
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
  for (std::uint32_t layer = 0; layer < shape_.layers(); ++layer) {
    Stretch& forgotten = stretch(layer, path_);
    for (std::uint32_t i = 0; i < forgotten.count; ++i) {
      takers_[shape_.first(layer) + forgotten.experts[i]][path_ / 64] &= ~bit(path_);
    }
    forgotten.count = 0;
  }
}

/// The cosine of the two choices joins what the layers before have said.
void RoutingPaths::close_visit() {
  if (!open_) return;
  open_ = false;
  const Stretch& here = stretch(current_, path_);
  if (here.count == 0) return;
  for (float& likeness : likeness_) likeness *= kMemory;
  for (std::uint32_t i = 0; i < here.count; ++i) {
    PathSet& takers = takers_[shape_.first(current_) + here.experts[i]];
    for (std::uint32_t word = 0; word < takers.size(); ++word) {
      for (std::uint64_t left = takers[word]; left != 0; left &= left - 1) {
        const std::uint32_t path = 64 * word + static_cast<std::uint32_t>(std::countr_zero(left));
        const auto product = here.count * stretch(current_, path).count;
        likeness_[path] += 1 / std::sqrt(static_cast<float>(product));
      }
    }
  }
  for (std::uint32_t i = 0; i < here.count; ++i) {
    takers_[shape_.first(current_) + here.experts[i]][path_ / 64] |= bit(path_);
  }
}

void RoutingPaths::choose_voters() {
  const auto less_alike = [](const Voter& a, const Voter& b) { return a.weight > b.weight; };
  voters_chosen_ = visits_;
  voters_.clear();
  for (std::uint32_t back = 1; back <= stored_; ++back) {
    const std::uint32_t path = (path_ + kPaths - back) % kPaths;
    const float likeness = likeness_[path];
    const bool is_full = voters_.size() == kVoters;
    if (!(likeness > (is_full ? voters_.front().weight : 0))) continue;
    voters_.push_back({likeness, path});
    std::push_heap(voters_.begin(), voters_.end(), less_alike);
    if (!is_full) continue;
    std::pop_heap(voters_.begin(), voters_.end(), less_alike);
    voters_.pop_back();
  }
  float sum = 0;
  for (Voter& voter : voters_) {
    // At most 1 / (1 - kMemory) layers' worth: e^10.
    voter.weight = std::expm1(voter.weight);
    sum += voter.weight;
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

void RoutingPaths::count_returns(std::uint32_t layer, std::span<Returns> returns) {
  constexpr std::uint32_t kNext = 1, kSoon = 3, kLater = 8;
  std::fill(returns.begin(), returns.end(), Returns{});
  if (open_) close_visit();
  if (voters_chosen_ != visits_) choose_voters();
  for (const Voter& voter : voters_) {
    voters_seen_ += 1;
    const float share = voter.weight * scale_;
    const std::uint32_t age = (path_ + kPaths - voter.path) % kPaths;
    for (std::uint32_t turn = kNext; turn <= std::min(kLater, age); ++turn) {
      const Stretch& chosen = stretch(layer, (voter.path + turn) % kPaths);
      for (std::uint32_t i = 0; i < chosen.count; ++i) {
        const std::uint16_t expert = chosen.experts[i];
        if (std::exchange(seen_[expert], voters_seen_) == voters_seen_) continue;
        Returns& of = returns[expert];
        (turn <= kNext ? of.next : turn <= kSoon ? of.soon : of.later) += share;
      }
    }
  }
}

}  // namespace sluice

#include "hybrid/hybrid_scheduler.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace sluice {
namespace {

/// A change that gains less than this share of the layer's time is none: it ends, and two plans
/// that are alike are not told apart by rounding.
constexpr double kGain = 1e-9;
/// Layers of more experts are not searched in pairs.
constexpr std::size_t kPairs = 16, kTriples = 12;
/// The order of more copies is what the rule says.
constexpr std::size_t kSwapped = 6;
constexpr std::uint32_t kFewestRowsToSplit = 2;

}  // namespace

const LayerPlan& HybridScheduler::plan(std::span<const ExpertWork> work, const HybridCosts& costs,
                                       const HybridAims& aims) {
  work_ = work;
  costs_ = &costs;
  aims_ = aims;
  alike_.resize(work.size());
  for (std::uint32_t i = 0; i < work.size(); ++i) {
    alike_[i] = 0;
    while (!(work[alike_[i]] == work[i])) ++alike_[i];
  }
  double kept_cost = kNever;
  for (const Start start : {Start::kWhereTheyLie, Start::kLargestFirst, Start::kSmallestFirst}) {
    search(start);
    if (best_cost_ < kept_cost || start == Start::kWhereTheyLie) {
      kept_cost = best_cost_;
      std::swap(kept_, best_);
    }
  }
  std::swap(kept_, best_);
  order_uploads(best_.gpu_rows);
  best_.uploads = uploads_;
  best_.seconds = clock_.follow(work_, costs, best_.gpu_rows, uploads_, aims_.link_taken).all();
  return best_;
}

/// One start ends in a hollow that the other one avoids.
void HybridScheduler::search(Start start) {
  begin();
  if (start == Start::kWhereTheyLie) {
    scan_uploads();
  } else {
    deal_out(start == Start::kLargestFirst);
  }
  do {
    while (change_one() || change_more()) {
    }
  } while (aims_.splits && split());
}

double HybridScheduler::worth_on_gpu(std::span<const ExpertWork> work, const HybridCosts& costs,
                                     const HybridAims& aims, std::size_t expert) {
  const double without = plan(work, costs, aims).seconds;
  other_.assign(work.begin(), work.end());
  other_[expert].on_gpu_at = 0;
  return without - plan(other_, costs, aims).seconds;
}

/// Johnson's rule for two machines in a row (the link, then the GPU), among those that the host has
/// equally early: first those that are copied faster than computed, the fastest copied first; then
/// the others, the slowest computed first. Where the CPU stages copies it is the first of three
/// machines, and the rule is his for those: of the first two together and the last two.
void HybridScheduler::order_uploads(const std::vector<std::uint32_t>& gpu_rows) {
  uploads_.clear();
  keys_.resize(work_.size());
  for (std::uint32_t i = 0; i < work_.size(); ++i) {
    if (gpu_rows[i] == 0 || work_[i].on_gpu()) continue;
    uploads_.push_back(i);
    const double staging = costs_->staging_seconds(work_[i].bytes);
    const double link = costs_->upload_seconds(work_[i].bytes);
    const double gpu = costs_->gpu.seconds(work_[i].bytes, gpu_rows[i]);
    const double before = staging > 0 ? staging + link : link;
    const double after = staging > 0 ? link + gpu : gpu;
    keys_[i] = before < after ? -1 / before : 1 / after;
  }
  std::ranges::sort(uploads_, [&](std::uint32_t a, std::uint32_t b) {
    if (work_[a].in_ram_at != work_[b].in_ram_at) return work_[a].in_ram_at < work_[b].in_ram_at;
    return keys_[a] != keys_[b] ? keys_[a] < keys_[b] : a < b;
  });
  if (costs_->staging_byte > 0) swap_uploads(gpu_rows);
}

/// The rule is exact for two machines only: neighbours change places while that helps.
void HybridScheduler::swap_uploads(const std::vector<std::uint32_t>& gpu_rows) {
  if (uploads_.size() < 2 || uploads_.size() > kSwapped) return;
  double least = clock_.follow(work_, *costs_, gpu_rows, uploads_, aims_.link_taken).all();
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t k = 1; k < uploads_.size(); ++k) {
      std::swap(uploads_[k - 1], uploads_[k]);
      const double seconds =
          clock_.follow(work_, *costs_, gpu_rows, uploads_, aims_.link_taken).all();
      if (seconds < least * (1 - kGain)) {
        least = seconds;
        changed = true;
      } else {
        std::swap(uploads_[k - 1], uploads_[k]);
      }
    }
  }
}

/// What each copy saves later makes a plan cheaper; here it makes those dearer that leave it out,
/// so that a cost is never below 0.
double HybridScheduler::cost_of(const std::vector<std::uint32_t>& gpu_rows) {
  order_uploads(gpu_rows);
  if (uploads_.size() > aims_.most_uploads) return kNever;
  return clock_.follow(work_, *costs_, gpu_rows, uploads_, aims_.link_taken).all() +
         aims_.upload_credit * static_cast<double>(work_.size() - uploads_.size());
}

/// Takes over rows_, where that ends sooner.
bool HybridScheduler::take_over() {
  const double cost = cost_of(rows_);
  if (!(cost < best_cost_ * (1 - kGain))) return false;
  best_.gpu_rows.swap(rows_);
  best_cost_ = cost;
  return true;
}

/// Moves experts to the other device, if that is good.
bool HybridScheduler::improve(std::initializer_list<std::uint32_t> experts) {
  rows_ = best_.gpu_rows;
  for (const std::uint32_t i : experts) rows_[i] = whole_other(i);
  return take_over();
}

bool HybridScheduler::improve(std::size_t expert, std::uint32_t gpu_rows) {
  rows_ = best_.gpu_rows;
  rows_[expert] = gpu_rows;
  return take_over();
}

std::uint32_t HybridScheduler::whole_other(std::size_t expert) const {
  return best_.gpu_rows[expert] == 0 ? work_[expert].rows : 0;
}

/// Everything where it lies.
void HybridScheduler::begin() {
  best_.gpu_rows.clear();
  for (const ExpertWork& expert : work_) {
    best_.gpu_rows.push_back(expert.on_gpu() ? expert.rows : 0);
  }
  best_cost_ = cost_of(best_.gpu_rows);
}

/// What the CPU needs longest for, beside what copying it takes, is copied first: how many of them?
/// Each step from one number to the next is tried, so that no hollow in between hides a better one.
void HybridScheduler::scan_uploads() {
  order_.clear();
  for (std::uint32_t i = 0; i < work_.size(); ++i) {
    if (!work_[i].on_gpu()) order_.push_back(i);
  }
  keys_.resize(work_.size());
  for (const std::uint32_t i : order_) {
    keys_[i] =
        costs_->cpu.seconds(work_[i].bytes, work_[i].rows) / costs_->upload_seconds(work_[i].bytes);
  }
  std::ranges::sort(order_, [&](std::uint32_t a, std::uint32_t b) {
    return keys_[a] != keys_[b] ? keys_[a] > keys_[b] : a < b;
  });
  rows_ = best_.gpu_rows;
  for (std::size_t n = 0; n < order_.size() && n < aims_.most_uploads; ++n) {
    rows_[order_[n]] = work_[order_[n]].rows;
    const double cost = cost_of(rows_);
    if (cost < best_cost_ * (1 - kGain)) {
      best_.gpu_rows = rows_;
      best_cost_ = cost;
    }
  }
}

/// One after the other, each to where what was dealt so far ends sooner.
void HybridScheduler::deal_out(bool largest_first) {
  order_.resize(work_.size());
  std::iota(order_.begin(), order_.end(), 0u);
  std::ranges::sort(order_, [&](std::uint32_t a, std::uint32_t b) {
    const double cost_a = costs_->cpu.seconds(work_[a].bytes, work_[a].rows);
    const double cost_b = costs_->cpu.seconds(work_[b].bytes, work_[b].rows);
    if (cost_a == cost_b) return a < b;
    return largest_first ? cost_a > cost_b : cost_a < cost_b;
  });
  dealt_.clear();
  const std::span<const ExpertWork> all = work_;
  rows_.clear();
  for (const std::uint32_t i : order_) {
    dealt_.push_back(all[i]);
    work_ = dealt_;
    rows_.push_back(0);
    const double cpu = cost_of(rows_);
    rows_.back() = all[i].rows;
    if (cpu < cost_of(rows_)) rows_.back() = 0;
  }
  work_ = all;
  for (std::size_t n = 0; n < order_.size(); ++n) best_.gpu_rows[order_[n]] = rows_[n];
  best_cost_ = cost_of(best_.gpu_rows);
}

/// The experts that differ: of those that are alike and computed in the same place, one.
void HybridScheduler::find_different() {
  different_.clear();
  for (std::uint32_t i = 0; i < work_.size(); ++i) {
    const bool known = std::ranges::any_of(different_, [&](std::uint32_t other) {
      return alike_[i] == alike_[other] && best_.gpu_rows[i] == best_.gpu_rows[other];
    });
    if (!known) different_.push_back(i);
  }
}

bool HybridScheduler::change_one() {
  find_different();
  bool changed = false;
  for (const std::uint32_t i : different_) changed |= improve({i});
  return changed;
}

/// Two experts, or three, at once: one of a device for one or two of the other, as no change of one
/// alone makes good.
bool HybridScheduler::change_more() {
  if (work_.size() > kPairs) return false;
  find_different();
  for (const std::uint32_t i : different_) {
    for (std::uint32_t j = i + 1; j < work_.size(); ++j) {
      if (first_alike(j, i) && improve({i, j})) return true;
    }
  }
  if (work_.size() > kTriples) return false;
  for (const std::uint32_t i : different_) {
    for (std::uint32_t j = i + 1; j < work_.size(); ++j) {
      if (!first_alike(j, i)) continue;
      for (std::uint32_t k = j + 1; k < work_.size(); ++k) {
        if (first_alike(k, j) && improve({i, j, k})) return true;
      }
    }
  }
  return false;
}

/// Whether it is the first behind `after` of those that are alike.
bool HybridScheduler::first_alike(std::uint32_t expert, std::uint32_t after) const {
  for (std::uint32_t i = after + 1; i < expert; ++i) {
    if (alike_[i] == alike_[expert] && best_.gpu_rows[i] == best_.gpu_rows[expert]) return false;
  }
  return true;
}

/// The rows of one expert, which both then multiply: halves the step that still ends sooner.
bool HybridScheduler::split() {
  bool changed = false;
  order_.clear();
  for (std::uint32_t i = 0; i < work_.size(); ++i) {
    if (work_[i].rows >= kFewestRowsToSplit) order_.push_back(i);
  }
  // The largest are tried first: dividing them moves most.
  std::ranges::sort(order_, [&](std::uint32_t a, std::uint32_t b) {
    const double size_a = static_cast<double>(work_[a].bytes) * work_[a].rows;
    const double size_b = static_cast<double>(work_[b].bytes) * work_[b].rows;
    return size_a != size_b ? size_a > size_b : a < b;
  });
  if (order_.size() > kPairs) order_.resize(kPairs);
  for (const std::uint32_t i : order_) {
    for (std::uint32_t step = work_[i].rows / 2; step > 0; step /= 2) {
      const std::uint32_t now = best_.gpu_rows[i];
      if (now >= step && improve(i, now - step)) {
        changed = true;
      } else if (now + step <= work_[i].rows) {
        changed |= improve(i, now + step);
      }
    }
  }
  return changed;
}

}  // namespace sluice

#include "hybrid/hybrid_replay.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice {
namespace {

/// One measurement of each number, which errs.
HybridCosts calibrated(const HybridMachine& machine, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const auto err = [&] { return std::exp(machine.miscalibrated * normal(random)); };
  HybridCosts costs = machine.costs;
  costs.cpu.scale(err());
  costs.gpu.scale(err());
  costs.upload_byte *= err();
  costs.cpu_beside_upload = std::min(1.0, costs.cpu_beside_upload * err());
  costs.upload_beside_cpu = std::min(1.0, costs.upload_beside_cpu * err());
  return costs;
}

}  // namespace

HybridReplay::HybridReplay(std::vector<std::uint32_t> experts,
                           std::vector<std::uint64_t> expert_bytes, const HybridMachine& machine,
                           HybridMode mode, std::uint64_t gpu_bytes,
                           std::unique_ptr<CachePolicy> policy, std::uint64_t visits)
    : shape_(experts),
      expert_bytes_(std::move(expert_bytes)),
      machine_(machine),
      mode_(mode),
      gpu_bytes_(mode == HybridMode::kCpuOnly ? 0 : gpu_bytes),
      visits_(visits),
      policy_(std::move(policy)),
      learner_(calibrated(machine, random_)),
      counts_(shape_.size()),
      on_gpu_(shape_.size()) {}

void HybridReplay::learn(std::uint32_t layer, std::span<const WantedRows> wanted) {
  if (policy_ != nullptr) policy_->visit(layer);
  for (const WantedRows& expert : wanted) {
    if (policy_ != nullptr) policy_->touch({layer, expert.expert}, expert.score);
    counts_[index(layer, expert.expert)] += expert.rows;
  }
}

void HybridReplay::begin() {
  std::vector<std::uint32_t> order(shape_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](std::uint32_t i) { return counts_[i]; });
  for (const std::uint32_t i : order) {
    const CacheKey key = shape_.key(i);
    if (used_ + expert_bytes_[key.layer] > gpu_bytes_) continue;
    used_ += expert_bytes_[key.layer];
    on_gpu_[i] = true;
    if (policy_ != nullptr) policy_->admit(key, expert_bytes_[key.layer]);
  }
}

/// The machine as it is now.
HybridCosts HybridReplay::truth() const {
  HybridCosts costs = machine_.costs;
  if (2 * visited_ < visits_) return costs;
  costs.cpu.scale(machine_.drift);
  costs.upload_byte *= machine_.drift;
  return costs;
}

const LayerPlan& HybridReplay::make_plan() {
  if (mode_ == HybridMode::kAuto) {
    const HybridCosts& costs = learner_.costs();
    return scheduler_.plan(work_, costs, {.upload_credit = upload_credit(costs, work_[0].bytes)});
  }
  fixed_ = {};
  for (std::uint32_t i = 0; i < work_.size(); ++i) {
    const bool gpu = mode_ == HybridMode::kGpuOnly || work_[i].on_gpu();
    fixed_.gpu_rows.push_back(gpu ? work_[i].rows : 0);
    if (gpu && !work_[i].on_gpu()) fixed_.uploads.push_back(i);
  }
  return fixed_;
}

/// Into the cache, if what has to leave for it is worth less.
bool HybridReplay::admit(std::uint32_t layer, std::uint16_t expert) {
  const CacheKey key{layer, expert};
  const std::uint64_t bytes = expert_bytes_[layer];
  if (bytes > gpu_bytes_) return false;
  policy_->admit(key, bytes);
  used_ += bytes;
  on_gpu_[shape_.index(key)] = true;
  while (used_ > gpu_bytes_) {
    const auto victim = policy_->victim([](CacheKey) { return true; });
    policy_->forget(*victim);
    used_ -= expert_bytes_[victim->layer];
    on_gpu_[shape_.index(*victim)] = false;
  }
  return on_gpu_[shape_.index(key)];
}

/// While the GPU computes what is no expert, the link has nothing to do and nobody to disturb: what
/// the CPU computed comes to the GPU where it is worth more than what leaves. A copy that does not
/// end goes on after the next layer.
void HybridReplay::promote(std::uint32_t layer, std::span<const WantedRows> wanted) {
  double left = machine_.dense_seconds;
  const auto go_on = [&] {
    const double step = std::min(left, copy_left_);
    left -= step;
    copy_left_ -= step;
    if (copy_left_ > 0) return;
    if (!on_gpu_[shape_.index(copied_)]) sums_.promotions += admit(copied_.layer, copied_.expert);
  };
  if (copy_left_ > 0) go_on();
  for (const WantedRows& expert : wanted) {
    if (left <= 0 || copy_left_ > 0) return;
    if (on_gpu_[index(layer, expert.expert)]) continue;
    copied_ = {layer, expert.expert};
    copy_left_ = truth().upload_seconds(expert_bytes_[layer]);
    go_on();
  }
}

void HybridReplay::visit(std::uint32_t layer, bool decode, std::span<const WantedRows> wanted) {
  work_.clear();
  if (policy_ != nullptr) policy_->visit(layer);
  for (const WantedRows& expert : wanted) {
    if (policy_ != nullptr) policy_->touch({layer, expert.expert}, expert.score);
    const bool there = on_gpu_[index(layer, expert.expert)];
    work_.push_back(
        {.rows = expert.rows, .bytes = expert_bytes_[layer], .on_gpu_at = there ? 0 : kNever});
    sums_.uses += 1;
    sums_.gpu_hits += there;
  }
  const LayerPlan& plan = make_plan();
  const HybridCosts costs = truth();
  const LayerTimes times = clock_.follow(work_, costs, plan.gpu_rows, plan.uploads);
  std::uniform_real_distribution<double> unit;
  const double hiccup = unit(trouble_) < machine_.hiccups ? 10 : 1;
  const double layer_seconds = times.all() * hiccup + machine_.dense_seconds;
  sums_.seconds += layer_seconds;
  if (decode) sums_.decode_seconds += layer_seconds;
  sums_.uploads += plan.uploads.size();
  visited_ += 1;
  if (mode_ == HybridMode::kAuto) {
    sums_.off += std::abs(plan.seconds / times.all() - 1);
    const auto measured = [&](double seconds) {
      return seconds * hiccup * (1 + machine_.noise * (2 * unit(random_) - 1));
    };
    double gpu = 0;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      gpu += costs.gpu.seconds(work_[i].bytes, plan.gpu_rows[i]);
    }
    learner_.observe(work_, plan, {measured(times.cpu), measured(gpu), measured(times.link)});
  }
  if (policy_ == nullptr) return;
  for (const std::uint32_t i : plan.uploads) admit(layer, wanted[i].expert);
  if (mode_ == HybridMode::kAuto) promote(layer, wanted);
}

HybridReplay::Result HybridReplay::result() const {
  Result result = sums_;
  if (visited_ > 0) result.off /= static_cast<double>(visited_);
  return result;
}

}  // namespace sluice

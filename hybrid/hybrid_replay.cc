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
  if (costs.staging_byte > 0) costs.staging_byte *= err();
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
      worth_(shape_),
      counts_(shape_.size()),
      on_gpu_(shape_.size()) {}

void HybridReplay::learn(std::uint32_t layer, std::span<const WantedRows> wanted) {
  experts_.clear();
  if (policy_ != nullptr) policy_->visit(layer);
  for (const WantedRows& expert : wanted) {
    if (policy_ != nullptr) policy_->touch({layer, expert.expert}, expert.score);
    counts_[index(layer, expert.expert)] += expert.rows;
    experts_.push_back(expert.expert);
  }
  worth_.visit(layer, experts_);
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
  costs.staging_byte *= machine_.drift;
  return costs;
}

const LayerPlan& HybridReplay::make_plan() {
  if (mode_ == HybridMode::kAuto) {
    const HybridCosts& costs = learner_.costs();
    return scheduler_.plan(
        work_, costs,
        {.upload_credit = upload_credit(costs, work_[0].bytes), .link_taken = copy_left_});
  }
  fixed_ = {};
  for (std::uint32_t i = 0; i < work_.size(); ++i) {
    const bool gpu = mode_ == HybridMode::kGpuOnly || work_[i].on_gpu();
    fixed_.gpu_rows.push_back(gpu ? work_[i].rows : 0);
    if (gpu && !work_[i].on_gpu()) fixed_.uploads.push_back(i);
  }
  return fixed_;
}

/// Into the cache, from which leaves what is worth least, be it the expert itself.
void HybridReplay::admit(CacheKey key) {
  const std::uint64_t bytes = expert_bytes_[key.layer];
  if (bytes > gpu_bytes_) return;
  policy_->admit(key, bytes);
  used_ += bytes;
  on_gpu_[shape_.index(key)] = true;
  while (used_ > gpu_bytes_) {
    const auto victim = policy_->victim([](CacheKey) { return true; });
    policy_->forget(*victim);
    used_ -= expert_bytes_[victim->layer];
    on_gpu_[shape_.index(*victim)] = false;
  }
}

/// What leaves if the expert comes; the expert itself: it would not stay; none: there is room.
std::optional<CacheKey> HybridReplay::displaced_by(CacheKey key) {
  if (used_ + expert_bytes_[key.layer] <= gpu_bytes_) return std::nullopt;
  policy_->admit(key, expert_bytes_[key.layer]);
  const std::optional<CacheKey> victim = policy_->victim([](CacheKey) { return true; });
  policy_->forget(key);
  return victim;
}

/// Of what the CPU computed, one is copied behind it where that pays, if the link is idle then.
/// Until when the CPU has it ready for the link.
double HybridReplay::promote(std::uint32_t layer, const LayerPlan& plan, const LayerTimes& times) {
  const std::uint64_t bytes = expert_bytes_[layer];
  const HybridCosts& known = learner_.costs();
  const auto candidate = worth_.candidate(experts_, work_, plan, known);
  if (!candidate || bytes > gpu_bytes_ || copy_left_ > 0 || times.link > times.cpu) return 0;
  const CacheKey key{layer, static_cast<std::uint16_t>(experts_[*candidate])};
  const auto displaced = displaced_by(key);
  if (displaced == key || !worth_.pays(key, displaced, bytes, known)) return 0;
  admit(key);
  sums_.promotions += 1;
  copied_ = key;
  copy_left_ = truth().upload_seconds(bytes);
  return times.cpu + truth().staging_seconds(bytes);
}

void HybridReplay::visit(std::uint32_t layer, bool decode, std::span<const WantedRows> wanted) {
  work_.clear();
  experts_.clear();
  if (policy_ != nullptr) policy_->visit(layer);
  for (const WantedRows& expert : wanted) {
    if (policy_ != nullptr) policy_->touch({layer, expert.expert}, expert.score);
    const bool there = on_gpu_[index(layer, expert.expert)];
    const bool comes = copy_left_ > 0 && copied_ == CacheKey{layer, expert.expert};
    work_.push_back({.rows = expert.rows,
                     .bytes = expert_bytes_[layer],
                     .on_gpu_at = comes   ? copy_left_
                                  : there ? 0
                                          : kNever});
    experts_.push_back(expert.expert);
    sums_.uses += 1;
    sums_.gpu_hits += there;
  }
  worth_.visit(layer, experts_);
  const LayerPlan& plan = make_plan();
  const HybridCosts costs = truth();
  const LayerTimes times = clock_.follow(work_, costs, plan.gpu_rows, plan.uploads, copy_left_);
  const double hiccup = unit_(trouble_) < machine_.hiccups ? 10 : 1;
  if (mode_ == HybridMode::kAuto) learn_costs(plan, times, hiccup);
  if (policy_ != nullptr) {
    for (const std::uint32_t i : plan.uploads) admit({layer, wanted[i].expert});
  }
  copy_left_ = std::max(0.0, times.earlier - times.all());
  double end = times.all();
  if (mode_ == HybridMode::kAuto && policy_ != nullptr) {
    const double staged = promote(layer, plan, times);
    end = std::max(end, staged);
    if (staged > 0) copy_left_ = std::max(0.0, copy_left_ - (end - staged));
  }
  copy_left_ = std::max(0.0, copy_left_ - machine_.dense_seconds);
  worth_.was_idle(machine_.dense_seconds);
  const double layer_seconds = end * hiccup + machine_.dense_seconds;
  sums_.seconds += layer_seconds;
  if (decode) sums_.decode_seconds += layer_seconds;
  sums_.uploads += plan.uploads.size();
  visited_ += 1;
}

void HybridReplay::learn_costs(const LayerPlan& plan, const LayerTimes& times, double hiccup) {
  sums_.off += std::abs(plan.seconds / times.all() - 1);
  const auto measured = [&](double seconds) {
    return seconds * hiccup * (1 + machine_.noise * (2 * unit_(random_) - 1));
  };
  const HybridCosts costs = truth();
  double gpu = 0;
  for (std::size_t i = 0; i < work_.size(); ++i) {
    gpu += costs.gpu.seconds(work_[i].bytes, plan.gpu_rows[i]);
  }
  learner_.observe(work_, plan,
                   {.cpu = measured(times.cpu - times.staging),
                    .gpu = measured(gpu),
                    .link = measured(times.copying),
                    .staging = measured(times.staging)});
}

HybridReplay::Result HybridReplay::result() const {
  Result result = sums_;
  if (visited_ > 0) result.off /= static_cast<double>(visited_);
  return result;
}

}  // namespace sluice

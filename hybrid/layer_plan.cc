#include "hybrid/layer_plan.h"

#include <algorithm>

namespace sluice {

LayerTimes LayerClock::follow(std::span<const ExpertWork> work, const HybridCosts& costs,
                              std::span<const std::uint32_t> gpu_rows,
                              std::span<const std::uint32_t> uploads, double link_taken) {
  cpu_.clear();
  gpu_.clear();
  uploads_.clear();
  gpu_seconds_.clear();
  for (std::size_t k = 0; k < uploads.size() && costs.staging_byte > 0; ++k) {
    const ExpertWork& expert = work[uploads[k]];
    cpu_.push_back({expert.in_ram_at, costs.staging_seconds(expert.bytes), k});
  }
  for (std::size_t i = 0; i < work.size(); ++i) {
    const ExpertWork& expert = work[i];
    if (gpu_rows[i] < expert.rows) {
      const double seconds = costs.cpu.seconds(expert.bytes, expert.rows - gpu_rows[i]);
      cpu_.push_back({expert.in_ram_at, seconds});
    }
    if (gpu_rows[i] > 0 && expert.on_gpu()) {
      gpu_.push_back({expert.on_gpu_at, costs.gpu.seconds(expert.bytes, gpu_rows[i])});
    }
  }
  for (const std::uint32_t i : uploads) {
    const double ready = costs.staging_byte > 0 ? kNever : work[i].in_ram_at;
    uploads_.push_back({ready, costs.upload_seconds(work[i].bytes)});
    gpu_seconds_.push_back(costs.gpu.seconds(work[i].bytes, gpu_rows[i]));
  }
  std::ranges::stable_sort(cpu_, {}, &Job::ready);
  return run(costs, link_taken);
}

LayerTimes LayerClock::run(const HybridCosts& costs, double link_taken) {
  LayerTimes times;
  double now = 0;
  std::size_t computed = 0, copied = 0, staged = kNone;
  double cpu_left = costs.cpu_start, link_left = link_taken;
  bool cpu_works = !cpu_.empty(), link_works = link_taken > 0;  // the CPU's first work is to start
  bool earlier = link_works;                                    // it is at work for
  const auto begin_next = [&] {
    if (!cpu_works && computed < cpu_.size() && cpu_[computed].ready <= now) {
      staged = cpu_[computed].stages;
      cpu_left = cpu_[computed++].seconds;
      cpu_works = true;
    }
    if (!link_works && copied < uploads_.size() && uploads_[copied].ready <= now) {
      link_left = uploads_[copied].seconds;
      link_works = true;
    }
  };
  begin_next();
  for (;;) {
    const double cpu_rate = link_works ? costs.cpu_beside_upload : 1;
    const double link_rate = cpu_works ? costs.upload_beside_cpu : 1;
    double next = kNever;
    if (cpu_works) next = std::min(next, now + cpu_left / cpu_rate);
    if (link_works) next = std::min(next, now + link_left / link_rate);
    if (!cpu_works && computed < cpu_.size()) next = std::min(next, cpu_[computed].ready);
    if (!link_works && copied < uploads_.size()) next = std::min(next, uploads_[copied].ready);
    if (next == kNever) break;
    const double step = next - now;
    // What ends now ends for good: rounding leaves nothing over.
    const bool cpu_ends = cpu_works && now + cpu_left / cpu_rate <= next;
    const bool link_ends = link_works && now + link_left / link_rate <= next;
    cpu_left -= step * cpu_rate;
    link_left -= step * link_rate;
    if (cpu_works && staged != kNone) times.staging += step;
    if (link_works && !earlier) times.copying += step;
    now = next;
    if (cpu_ends) {
      cpu_works = false;
      times.cpu = now;
      if (staged != kNone) uploads_[staged].ready = now;
      staged = kNone;
    }
    if (link_ends) {
      link_works = false;
      (earlier ? times.earlier : times.link) = now;
      if (!earlier) gpu_.push_back({now, gpu_seconds_[copied++]});
      earlier = false;
    }
    begin_next();
  }
  if (computed < cpu_.size()) times.cpu = kNever;
  if (copied < uploads_.size()) times.link = times.gpu = kNever;
  if (gpu_.empty() || times.gpu == kNever) return times;
  std::ranges::sort(gpu_, {}, &Job::ready);
  double end = 0;
  for (const Job& job : gpu_) end = std::max(end, job.ready) + job.seconds;
  times.gpu = end + costs.gpu_start;
  return times;
}

}  // namespace sluice

#include "hybrid/hybrid_learner.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

// As CostCurve learns.
constexpr double kMostSurprise = 0.4, kLearned = 0.1;
constexpr double kLeastShare = 0.2;

/// `number`, moved towards what would have made `expected` of it what was measured.
double moved(double number, double measured, double expected, double share) {
  const double surprise = std::clamp(std::log(measured / expected), -kMostSurprise, kMostSurprise);
  return number * std::exp(kLearned * share * surprise);
}

}  // namespace

void HybridLearner::observe(std::span<const ExpertWork> work, const LayerPlan& plan,
                            const Timing& measured) {
  parts_.clear();
  double cpu = 0, link = 0;  // that either takes alone
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (plan.gpu_rows[i] == work[i].rows) continue;
    parts_.push_back({work[i].bytes, work[i].rows - plan.gpu_rows[i]});
    cpu += costs_.cpu.seconds(parts_.back().bytes, parts_.back().rows);
  }
  double staged = 0;  // bytes
  for (const std::uint32_t i : plan.uploads) {
    link += costs_.upload_seconds(work[i].bytes);
    staged += static_cast<double>(work[i].bytes);
  }
  if (measured.staging > 0 && staged > 0 && costs_.staging_byte > 0) {
    costs_.staging_byte =
        moved(costs_.staging_byte, measured.staging, staged * costs_.staging_byte, 1);
  }

  if (measured.link > 0 && link > 0) {
    const double beside = std::min(1.0, measured.cpu / measured.link);  // that the CPU worked, too
    const double expected = link * (1 - beside + beside / costs_.upload_beside_cpu);
    costs_.upload_byte = moved(costs_.upload_byte, measured.link, expected, 1 - beside);
    costs_.upload_beside_cpu = std::clamp(
        moved(costs_.upload_beside_cpu, expected, measured.link, beside), kLeastShare, 1.0);
  }
  if (measured.cpu > costs_.cpu_start && cpu > 0) {
    const double at_work = measured.cpu - costs_.cpu_start;
    const double beside = std::min(1.0, measured.link / measured.cpu);
    // While both are at work for t, the CPU does what takes it t * cpu_beside_upload alone.
    const double alone = at_work * (1 - beside * (1 - costs_.cpu_beside_upload));
    if (beside < 0.5) costs_.cpu.observe(parts_, alone);
    costs_.cpu_beside_upload =
        std::clamp(moved(costs_.cpu_beside_upload, cpu, alone, beside), kLeastShare, 1.0);
  }
  parts_.clear();
  for (std::size_t i = 0; i < work.size(); ++i) {
    if (plan.gpu_rows[i] > 0) parts_.push_back({work[i].bytes, plan.gpu_rows[i]});
  }
  if (measured.gpu > 0) costs_.gpu.observe(parts_, measured.gpu);
}

}  // namespace sluice

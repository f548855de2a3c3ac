#include "hybrid/copy_worth.h"

#include <algorithm>

namespace sluice {
namespace {

// Visits of a layer. Anything near these did as well on the recorded traces.
constexpr double kLate = 8, kLonger = 64;
// Of what is expected of one visit, what is left in the next one: an expert stays for some 32.
constexpr double kStays = 1 - 1.0 / 32;
// Observations of a kind, which begins as if the longer share were true and went on.
constexpr double kMemory = 2000, kPrior = 30;
// Layers over which other averages are taken.
constexpr double kLayers = 200;
// Visits of a layer before anything is learned of it.
constexpr std::uint32_t kFirst = 4;
// What a copy must save, of what it costs: the best of many guesses is seldom as good as it seems.
constexpr double kSurely = 1.5;

constexpr std::array kGradeLeast{0.01f, 0.03f, 0.06f, 0.12f, 0.25f, 0.45f, 0.7f};
constexpr std::array kGradeTypical{0.003, 0.02, 0.04, 0.09, 0.18, 0.35, 0.55, 0.85};

std::size_t grade(float share) {
  return static_cast<std::size_t>(std::ranges::upper_bound(kGradeLeast, share) -
                                  kGradeLeast.begin());
}

}  // namespace

void CopyWorth::Average::see(double next, double memory) {
  seen = std::min(seen + 1, memory);
  value += (next - value) / seen;
}

CopyWorth::CopyWorth(const CacheShape& shape)
    : shape_(shape),
      shares_(shape.size()),
      kinds_(shape.size()),
      wanted_(shape.size()),
      visits_(shape.layers()) {
  for (std::size_t kind = 0; kind < uses_.size(); ++kind) {
    uses_[kind] = kGradeTypical[kind % kGrades] * kStays / (1 - kStays);
    seen_[kind] = kPrior;
  }
}

std::uint8_t CopyWorth::kind(const Shares& shares) {
  return static_cast<std::uint8_t>(grade(shares.late) * kGrades + grade(shares.longer));
}

/// What was expected of an expert should have been: that it is wanted now, or not, and what is
/// expected of it from now on (learning by temporal differences, Sutton 1988).
void CopyWorth::visit(std::uint32_t layer, std::span<const std::uint32_t> experts) {
  layer_ = layer;
  visits_[layer] += 1;
  for (const std::uint32_t expert : experts) wanted_[shape_.first(layer) + expert] = true;
  const auto share = [&](double memory) {
    return static_cast<float>(1 / std::min<double>(visits_[layer], memory));
  };
  const float late = share(kLate), longer = share(kLonger);
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    const float now = wanted_[i] ? 1.0f : 0.0f;
    wanted_[i] = false;
    shares_[i].late += late * (now - shares_[i].late);
    shares_[i].longer += longer * (now - shares_[i].longer);
    const std::uint8_t before = kinds_[i];
    kinds_[i] = kind(shares_[i]);
    if (visits_[layer] < kFirst) continue;
    seen_[before] = std::min(seen_[before] + 1, kMemory);
    uses_[before] +=
        (kStays * (static_cast<double>(now) + uses_[kinds_[i]]) - uses_[before]) / seen_[before];
  }
}

std::optional<std::uint32_t> CopyWorth::candidate(std::span<const std::uint32_t> experts,
                                                  std::span<const ExpertWork> work,
                                                  const LayerPlan& plan, const HybridCosts& costs) {
  const auto expected = [&](std::uint32_t i) {
    return uses({layer_, static_cast<std::uint16_t>(experts[i])});
  };
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < work.size(); ++i) {
    if (plan.gpu_rows[i] > 0 || work[i].on_gpu()) continue;
    if (!best || expected(i) > expected(*best)) best = i;
  }
  if (!best) return best;
  planned_ = clock_.follow(work, costs, plan.gpu_rows, plan.uploads);
  if (planned_.all() == kNever) return std::nullopt;
  other_.assign(work.begin(), work.end());
  rows_.assign(plan.gpu_rows.begin(), plan.gpu_rows.end());
  other_[*best].on_gpu_at = 0;
  rows_[*best] = work[*best].rows;
  const double saved = planned_.all() - clock_.follow(other_, costs, rows_, plan.uploads).all();
  // Most uses are not those of a prompt's many rows.
  saved_.see(std::clamp(saved, 0.0, costs.cpu.seconds(work[*best].bytes, 1)), kLayers);
  return best;
}

double CopyWorth::cost(std::uint64_t bytes, const HybridCosts& costs) const {
  const double staged = planned_.cpu + costs.staging_seconds(bytes);
  const double beside = std::max(0.0, costs.upload_seconds(bytes) - idle_.value);
  return std::max(0.0, staged - planned_.all()) + beside * (1 - costs.cpu_beside_upload);
}

bool CopyWorth::pays(CacheKey candidate, std::optional<CacheKey> displaced, std::uint64_t bytes,
                     const HybridCosts& costs) const {
  const double gained = uses(candidate) - (displaced ? uses(*displaced) : 0);
  return gained * saved_.value > kSurely * cost(bytes, costs);
}

/// A user who thinks for a minute teaches little.
void CopyWorth::was_idle(double seconds) {
  constexpr double kLeast = 1e-4;
  idle_.see(std::min(seconds, kLeast + 2 * idle_.value), kLayers);
}

}  // namespace sluice

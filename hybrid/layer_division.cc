#include "hybrid/layer_division.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

namespace sluice {

double layer_seconds(const LayerOwner& owner, std::uint32_t layers, const LayerNeeds& needs) {
  const auto of_all = [layers](std::uint64_t bytes) { return static_cast<double>(bytes) * layers; };
  const auto memory = static_cast<double>(owner.bytes);
  const double dense = of_all(needs.dense_bytes);
  const double experts = of_all(needs.expert_bytes * needs.experts);
  // What does not fit of the dense parts is the CPU's, too.
  const double dense_share = dense > 0 ? std::min(1.0, memory / dense) : 1;
  const double share = experts > 0 ? std::clamp((memory - dense) / experts, 0.0, 1.0) : 1;
  const double weights = static_cast<double>(needs.expert_bytes) * needs.top_k;
  const auto seconds = [](const CostCurve& curve, double bytes) {
    return curve.seconds(static_cast<std::uint64_t>(bytes), 1);
  };
  const double all_dense = static_cast<double>(needs.dense_bytes);
  const double attended = seconds(owner.costs.gpu, dense_share * all_dense) +
                          seconds(owner.costs.cpu, (1 - dense_share) * all_dense);
  const double gpu =
      share > 0 ? owner.costs.gpu_start + seconds(owner.costs.gpu, share * weights) : 0;
  const double cpu =
      share < 1 ? owner.costs.cpu_start + seconds(owner.costs.cpu, (1 - share) * weights) : 0;
  return attended + std::max(gpu, cpu);
}

namespace {

/// What it costs owner `owner` to have `count` layers.
using Cost = std::function<double(std::size_t owner, std::uint32_t count)>;

/// The division that costs least.
std::vector<std::uint32_t> cheapest(std::size_t owners, std::uint32_t layers, const Cost& cost) {
  // best[n]: of the owners so far with n layers together; taken[d][n]: of these, owner d's.
  const std::size_t width = layers + std::size_t{1};
  std::vector<double> best(width, kNever);
  best[0] = 0;
  std::vector<std::vector<std::uint32_t>> taken(owners, std::vector<std::uint32_t>(width));
  for (std::size_t owner = 0; owner < owners; ++owner) {
    std::vector<double> next(width, kNever);
    for (std::uint32_t count = 0; count <= layers; ++count) {
      const double own = cost(owner, count);
      for (std::uint32_t before = 0; before + count <= layers; ++before) {
        const double all = best[before] + own;
        if (!(all < next[before + count])) continue;
        next[before + count] = all;
        taken[owner][before + count] = count;
      }
    }
    best = std::move(next);
  }
  std::vector<std::uint32_t> division(owners);
  for (std::size_t owner = owners, left = layers; owner-- > 0; left -= division[owner]) {
    division[owner] = taken[owner][left];
  }
  return division;
}

}  // namespace

std::vector<std::uint32_t> divide_layers(std::span<const LayerOwner> owners, std::uint32_t layers,
                                         const LayerNeeds& needs) {
  const Cost seconds = [&](std::size_t owner, std::uint32_t count) {
    return count == 0 ? 0 : count * layer_seconds(owners[owner], count, needs);
  };
  const std::vector<std::uint32_t> fastest = cheapest(owners.size(), layers, seconds);
  double least = 0, memory = 0;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    least += seconds(i, fastest[i]);
    memory += static_cast<double>(owners[i].bytes);
  }
  // Distances of all owners add up to 2 at most.
  constexpr double kNear = 0.01;
  return cheapest(owners.size(), layers, [&](std::size_t owner, std::uint32_t count) {
    const double share = memory > 0 ? static_cast<double>(owners[owner].bytes) / memory : 0;
    const double distance = std::abs(static_cast<double>(count) / std::max(1u, layers) - share);
    return seconds(owner, count) + kNear * least * distance;
  });
}

}  // namespace sluice

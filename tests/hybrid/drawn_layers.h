#pragma once
// Layers and machines that nobody has, drawn from a seed.

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "hybrid/layer_plan.h"

namespace sluice::test {

using Random = std::mt19937_64;

inline double between(Random& random, double least, double most) {
  return std::uniform_real_distribution<double>(least, most)(random);
}
/// Of any size between them alike.
inline double log_between(Random& random, double least, double most) {
  return std::exp(between(random, std::log(least), std::log(most)));
}

/// From an old laptop with a small card to a server.
inline HybridCosts drawn_costs(Random& random, bool staged = false) {
  HybridCosts costs;
  costs.cpu =
      CostCurve::roofline(log_between(random, 15e9, 300e9), log_between(random, 5e10, 5e12), 2);
  costs.gpu =
      CostCurve::roofline(log_between(random, 150e9, 3e12), log_between(random, 2e12, 5e14), 2);
  costs.cpu_start = between(random, 0, 20e-6);
  costs.gpu_start = between(random, 0, 30e-6);
  costs.upload_start = between(random, 1e-6, 15e-6);
  costs.upload_byte = 1 / log_between(random, 3e9, 55e9);
  costs.cpu_beside_upload = between(random, 0.5, 1);
  costs.upload_beside_cpu = between(random, 0.5, 1);
  if (staged) costs.staging_byte = 1 / log_between(random, 4e9, 50e9);
  return costs;
}

/// Decode, a batch, or a prompt.
inline std::vector<ExpertWork> drawn_layer(Random& random, std::size_t experts, bool late) {
  const double most_rows = random() % 3 == 0 ? 1.01 : log_between(random, 1.5, 400);
  const auto bytes = static_cast<std::uint64_t>(log_between(random, 4e5, 1e8));
  const double resident = between(random, 0, 1);
  std::vector<ExpertWork> work(experts);
  for (ExpertWork& expert : work) {
    expert.rows = static_cast<std::uint32_t>(log_between(random, 1, most_rows));
    expert.bytes = random() % 4 == 0 ? bytes / 2 : bytes;
    if (between(random, 0, 1) < resident) {
      expert.on_gpu_at = 0;
      if (random() % 3 == 0) expert.in_ram_at = kNever;
    } else if (late && random() % 4 == 0) {
      expert.in_ram_at = log_between(random, 1e-5, 1e-2);
    }
    if (late && random() % 8 == 0) expert.on_gpu_at = log_between(random, 1e-5, 1e-3);
  }
  return work;
}

}  // namespace sluice::test

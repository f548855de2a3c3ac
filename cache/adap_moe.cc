#include "cache/adap_moe.h"

#include <algorithm>
#include <numeric>

namespace sluice {
namespace {

// Finer steps than that many for the whole cache would cost more than they save: below a
// millisecond a plan.
constexpr std::uint32_t kMostUnits = 512;
// Of what was counted for the plan before, what still counts.
constexpr float kKept = 0.5f;
// Hits that any place is taken to have had, and the deeper the fewer: where nothing is known yet
// all layers get alike.
constexpr float kPriorHits = 0.5f;

}  // namespace

AdapMoe::AdapMoe(const CacheShape& shape)
    : QuotaPolicy(shape), order_(shape.size()), hits_(shape.size()) {
  std::iota(order_.begin(), order_.end(), 0u);
}

void AdapMoe::on_touch(std::uint32_t layer, std::uint32_t index) {
  const auto first = order_.begin() + shape().first(layer);
  const auto last = order_.begin() + shape().first(layer + 1);
  const auto place = std::find(first, last, index);
  hits_[static_cast<std::size_t>(place - order_.begin())] += 1;
  std::rotate(first, place, place + 1);
}

void AdapMoe::share_out(std::uint32_t slots, std::span<std::uint32_t> quotas) {
  const std::uint32_t unit = slots / kMostUnits + 1;  // slots
  std::vector<std::vector<float>> gains(shape().layers());
  for (std::uint32_t layer = 0; layer < shape().layers(); ++layer) {
    const std::uint32_t first = shape().first(layer), keys = shape().first(layer + 1) - first;
    float sum = 0;
    for (std::uint32_t place = 0; place < keys; ++place) {
      if (place % unit == 0) gains[layer].push_back(sum);
      sum += hits_[first + place] + kPriorHits / static_cast<float>(place + 1);
      hits_[first + place] *= kKept;
    }
    gains[layer].push_back(sum);
  }
  const std::vector<std::uint32_t> units = allocate_best(gains, slots / unit);
  for (std::uint32_t layer = 0; layer < shape().layers(); ++layer) {
    quotas[layer] = units[layer] * unit;
  }
}

std::vector<std::uint32_t> allocate_best(const std::vector<std::vector<float>>& gains,
                                         std::uint32_t units) {
  // best[n]: of the layers so far, with n units; chosen[layer][n]: how many of them are the
  // layer's.
  std::vector<float> best(units + 1), with(units + 1);
  std::vector<std::vector<std::uint32_t>> chosen;
  for (const std::vector<float>& gain : gains) {
    std::vector<std::uint32_t>& choice = chosen.emplace_back(units + 1);
    for (std::uint32_t all = 0; all <= units; ++all) {
      const auto most = std::min(all, static_cast<std::uint32_t>(gain.size() - 1));
      for (std::uint32_t own = 0; own <= most; ++own) {
        const float sum = best[all - own] + gain[own];
        if (own > 0 && sum <= with[all]) continue;
        with[all] = sum;
        choice[all] = own;
      }
    }
    std::swap(best, with);
  }
  std::vector<std::uint32_t> allocation(gains.size());
  for (std::size_t layer = gains.size(); layer-- > 0;) {
    allocation[layer] = chosen[layer][units];
    units -= allocation[layer];
  }
  return allocation;
}

}  // namespace sluice

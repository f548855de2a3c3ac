#include "cache/fate.h"

#include <algorithm>
#include <cmath>

namespace sluice {

void Fate::share_out(std::uint32_t slots, std::span<std::uint32_t> quotas) {
  const auto keys = [this](std::size_t layer) {
    const auto at = static_cast<std::uint32_t>(layer);
    return shape().first(at + 1) - shape().first(at);
  };
  const auto weight = [&](std::size_t layer) {
    return keys(layer) * (2 - static_cast<double>(layer) / static_cast<double>(quotas.size()));
  };
  double weights = 0, left = slots;
  for (std::size_t layer = 0; layer < quotas.size(); ++layer) weights += weight(layer);
  // What a shallow layer has no experts for goes to the ones below it, whose shares are smaller.
  for (std::size_t layer = 0; layer < quotas.size(); ++layer) {
    const double share = std::floor(left * weight(layer) / weights + 0.5);
    quotas[layer] = std::min(keys(layer), static_cast<std::uint32_t>(share));
    left -= quotas[layer];
    weights -= weight(layer);
  }
}

}  // namespace sluice

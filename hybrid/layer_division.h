#pragma once
// Which layers belong to which of several devices.

#include <cstdint>
#include <span>
#include <vector>

#include "hybrid/layer_plan.h"

namespace sluice {

/// A device that layers may belong to.
struct LayerOwner {
  std::uint64_t bytes = 0;  // of its memory
  HybridCosts costs;
};

/// Layers, one like the other.
struct LayerNeeds {
  std::uint64_t dense_bytes = 0;   // of all but the routed experts
  std::uint64_t expert_bytes = 0;  // of one expert
  std::uint32_t experts = 0;
  std::uint32_t top_k = 0;
};

/// How many consecutive layers each owner has, so that a decode step through all of them takes
/// least: what of a layer's experts a device's memory holds it computes, the CPU the others
/// meanwhile, and every layer more leaves less room for those of the rest. By dynamic programming;
/// of divisions that take less than a fiftieth more, one that is near the owners' memories.
/// REQUIRES: there is an owner.
std::vector<std::uint32_t> divide_layers(std::span<const LayerOwner> owners, std::uint32_t layers,
                                         const LayerNeeds& needs);

/// Seconds of one of `layers` layers that an owner has.
double layer_seconds(const LayerOwner& owner, std::uint32_t layers, const LayerNeeds& needs);

}  // namespace sluice

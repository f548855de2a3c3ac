#pragma once
// Routing that a test writes down or draws.

#include <cstdint>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "cache/routing_trace.h"

namespace sluice::test {

inline RoutingTrace empty_trace(std::uint32_t layers, std::uint32_t experts) {
  RoutingTrace trace;
  trace.experts.assign(layers, experts);
  trace.expert_bytes.assign(layers, 4096);
  return trace;
}

inline void append(RoutingTrace& trace, std::uint32_t layer, bool decode,
                   std::span<const std::uint16_t> experts) {
  trace.events.push_back({.layer = layer,
                          .decode = decode,
                          .count = static_cast<std::uint32_t>(experts.size()),
                          .first = trace.routed.size()});
  for (const std::uint16_t expert : experts) {
    trace.routed.push_back({expert, 1.0f / static_cast<float>(experts.size())});
  }
}

/// Decode steps whose routers prefer low numbers and, half of the time, what they chose last.
inline RoutingTrace drawn_trace(unsigned seed, std::uint32_t layers, std::uint32_t experts,
                                std::uint32_t top_k, unsigned steps) {
  RoutingTrace trace = empty_trace(layers, experts);
  std::mt19937 random(seed);
  std::vector<std::set<std::uint16_t>> last(layers);
  for (unsigned step = 0; step < steps; ++step) {
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      std::set<std::uint16_t> wanted;
      for (const std::uint16_t expert : last[layer]) {
        if (random() % 2 == 0) wanted.insert(expert);
      }
      while (wanted.size() < top_k) {
        wanted.insert(static_cast<std::uint16_t>(random() % (1 + random() % experts)));
      }
      last[layer] = wanted;
      const std::vector<std::uint16_t> chosen(wanted.begin(), wanted.end());
      append(trace, layer, true, chosen);
    }
  }
  return trace;
}

}  // namespace sluice::test

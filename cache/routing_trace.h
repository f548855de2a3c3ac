#pragma once
// What a model's routers chose in a recorded run, visit by visit. Where it was read from is not its
// business.

#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

/// Of an expert's share of a row's weights a trace keeps 16 bits, 1 being 65535; the engine's cache
/// decides on no more, so that a replay decides alike. 0 for what is not a number.
inline std::uint16_t share_code(float share) {
  if (!(share > 0)) return 0;
  return static_cast<std::uint16_t>((share < 1 ? share : 1.0f) * 65535.0f + 0.5f);
}
inline float share_of(std::uint16_t code) { return static_cast<float>(code) / 65535.0f; }

struct RoutedExpert {
  std::uint16_t expert = 0;
  float score = 1;  // its shares of the weights of the visit's rows, summed; 1 where unknown
};

/// One visit of a layer: all rows of a prefill's pass, or the one of a decode step.
struct RoutingEvent {
  std::uint32_t layer = 0;  // its turn in the cycle of sparse layers, from 0
  bool decode = true;
  std::uint32_t count = 0;  // experts that it wants, each once
  std::uint64_t first = 0;  // where they begin in RoutingTrace::routed
};

struct RoutingTrace {
  std::vector<std::uint32_t> experts;       // [layers]
  std::vector<std::uint64_t> expert_bytes;  // [layers], each at least 1
  std::vector<std::uint64_t> slot_bytes;  // [experts of all layers]: what each takes of an engine's
                                          // cache; empty where unknown: its own bytes
  std::vector<RoutingEvent> events;       // as they happened
  std::vector<RoutedExpert> routed;       // of all events, one event's after the other's

  std::span<const RoutedExpert> wanted(const RoutingEvent& event) const {
    return std::span(routed).subspan(event.first, event.count);
  }
};

}  // namespace sluice

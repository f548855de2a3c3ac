#pragma once
// From a router's logits to the chosen experts and their weights.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model_description.h"

namespace sluice {

/// The choice for all rows of a pass in one layer; `ids` and `weights` are in rank order, best
/// first.
struct Routing {
  std::uint32_t layer = 0;
  std::size_t rows = 0;
  std::size_t top_k = 0;
  std::size_t experts = 0;
  const std::uint32_t* ids = nullptr;  // [rows, top_k]
  const float* weights = nullptr;      // [rows, top_k]
  const float* scores =
      nullptr;  // [rows, experts]: what the router gave every expert, after its softmax
};

/// Sees every routing decision; for traces, predictors and tests. Called on the computing thread.
class RoutingObserver {
 public:
  virtual ~RoutingObserver() = default;
  virtual void routed(const Routing& routing) = 0;
};

/// One row: `scores` `[experts]` holds logits and receives the softmax over all experts; the top_k
/// best (ties: the lower id) go to `ids` and `weights` `[top_k]`, renormalised and scaled as
/// described.
void route_row(const RouterDescription& router, std::span<float> scores, std::uint32_t* ids,
               float* weights);

}  // namespace sluice

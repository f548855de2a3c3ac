#pragma once
// Routing that was written down before: it takes the routers' place, so that a model whose weights
// mean nothing can be measured under the routing of one that was trained.

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

/// Called on the computing thread, for rows of the pass that began last.
class RoutingScript {
 public:
  virtual ~RoutingScript() = default;
  /// Experts of a row: at least 1, at most the model's.
  virtual std::uint32_t top_k() const = 0;
  /// A pass over the next `rows` rows begins.
  virtual void begin(std::size_t rows) = 0;
  /// `ids` `[top_k]`: the experts of a row in one of the model's layers, best first, each once and
  /// below what the model has; `weights` `[top_k]`: how much each counts.
  virtual void choose(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids,
                      std::span<float> weights) = 0;
  /// What somebody would have said of `choose` before the layer's turn: `ids` `[top_k]`, best
  /// first, each once.
  virtual void guess(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids) = 0;
};

}  // namespace sluice

#pragma once
// What routers chose in a pass and what their experts read, for those who look on: traces,
// predictors, calibration, tests.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/operations.h"
#include "layers/row.h"

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
  const float* scores = nullptr;  // [rows, experts]: of every expert, after softmax or sigmoid;
                                  // null where a script chose
  const float* input = nullptr;   // [rows, hidden]: what the router read
};

/// How many bits of its experts each row of a pass is multiplied by in one layer: of those that are
/// computed, after a RouteRelaxation.
struct TakenWidths {
  static constexpr std::uint8_t kNone = 0xff;  // this rank's expert is left out

  std::uint32_t layer = 0;
  std::size_t rows = 0;
  std::size_t top_k = 0;
  const std::uint8_t* bits = nullptr;  // [rows, top_k]; kExactWidth: all that the catalogue has
};

/// What a row's weights add up to, of which each has a share, whatever their scale.
inline float weight_sum(std::span<const float> weights) {
  float sum = 0;
  for (const float weight : weights) sum += std::fabs(weight);
  return sum;
}

/// Sees every routing decision, as the routers (or a script) make it, before a RouteRelaxation
/// changes it. Called on the computing thread.
class RoutingObserver {
 public:
  virtual ~RoutingObserver() = default;
  /// A pass over these rows begins. Its layers' choices follow: all, or, of a pass that fails, the
  /// first ones.
  virtual void begin(std::span<const Row>) {}
  /// A layer begins with these residuals `[rows, hidden]`.
  virtual void entering(std::uint32_t, std::size_t, const float*) {}
  virtual void routed(const Routing& routing) = 0;
  /// Follows `routed`.
  virtual void narrowed(const TakenWidths&) {}
  /// An expert was computed for its rows of the pass, in their order; task.hidden.values have what
  /// its down matrix read. Which expert of a layer comes first depends on what was in memory.
  virtual void computed(std::uint32_t /*layer*/, std::uint32_t /*expert*/, const FfnTask&) {}
  /// Whether it needs `computed`: of every expert, which is then computed by the host. Else it may
  /// be told of some.
  virtual bool needs_products() const { return false; }
};

/// Lets several look on at once, in their order. Borrows the list, too.
class RoutingObservers final : public RoutingObserver {
 public:
  explicit RoutingObservers(std::span<RoutingObserver* const> observers) : observers_(observers) {}
  void begin(std::span<const Row> rows) override {
    for (RoutingObserver* const observer : observers_) observer->begin(rows);
  }
  void entering(std::uint32_t layer, std::size_t rows, const float* residual) override {
    for (RoutingObserver* const observer : observers_) observer->entering(layer, rows, residual);
  }
  void routed(const Routing& routing) override {
    for (RoutingObserver* const observer : observers_) observer->routed(routing);
  }
  void narrowed(const TakenWidths& taken) override {
    for (RoutingObserver* const observer : observers_) observer->narrowed(taken);
  }
  void computed(std::uint32_t layer, std::uint32_t expert, const FfnTask& task) override {
    for (RoutingObserver* const observer : observers_) observer->computed(layer, expert, task);
  }
  bool needs_products() const override {
    return std::ranges::any_of(
        observers_, [](const RoutingObserver* observer) { return observer->needs_products(); });
  }

 private:
  const std::span<RoutingObserver* const> observers_;
};

}  // namespace sluice

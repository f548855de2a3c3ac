#pragma once
// The opt-in approximations of routing: weak experts are left out, and an expert that would have to
// be read makes way for one in memory that the router likes nearly as much. Off, a pass has none.
//
// Leaving out (after AdapMoE, arXiv 2408.10284): a row's weakest experts go as long as the shares
// of its weights that they have add up to no more than its layer's limit. That depends on nothing
// but the row: results stay the same for every budget, number of threads and way to cut a prompt.
//
// Preferring (after cache-aware routing, arXiv 2412.00099): an expert that is not in memory is
// replaced by the best of those that are and whose router score comes within the margin, where
// every row of the pass that wants it can do without; else it is read anyway, and all keep it. So
// it matters in decode, and hardly in a prompt. What is in memory depends on budget and timing, and
// so do the results.
//
// A changed row is weighed as the router would weigh a choice of what it has now: it is
// renormalised where the model renormalises.

#include <cstdint>
#include <span>
#include <vector>

#include "layers/router.h"

namespace sluice {

/// How far a pass may depart from what the routers choose. Both in [0, 1]; 0: not at all.
struct RouteTolerance {
  float skip = 0;  // share of a token's weights that a layer may leave out, averaged over layers
  float prefer_resident = 0;  // how much lower a replacement's router score may be, relatively

  bool any() const { return skip != 0 || prefer_resident != 0; }
};

struct RelaxationStatistics {
  std::uint64_t chosen = 0;    // by routers: rows times top_k
  std::uint64_t skipped = 0;   // of these: left out, …
  std::uint64_t replaced = 0;  // … or another one computed instead
  double squared_shares = 0;   // of what was left out of each row, summed over rows
};

/// One layer's routing, as the routers have it.
struct RoutedRows {
  std::uint32_t layer = 0;
  std::size_t rows = 0;
  const float* scores = nullptr;           // [rows, experts], as Router::choose leaves them
  const float* selection_bias = nullptr;   // [experts], or null
  const float* expert_scale = nullptr;     // [experts]: of the weights; or null
  std::span<const std::uint8_t> resident;  // [experts]: in memory; needed where looks_at_memory()
  std::uint32_t* ids = nullptr;            // [rows, top_k]
  float* weights = nullptr;                // [rows, top_k]
};

/// Not thread-safe: one pass at a time.
class RouteRelaxation {
 public:
  /// `skip_limits` `[layers]`: how much of a row's weights each layer may leave out, as a share.
  RouteRelaxation(const RouterDescription& router, std::vector<float> skip_limits, float margin);

  /// Changes ids and weights. A row keeps its strongest expert; those that it takes come first, in
  /// the router's order, and places that are left over name the first of them once more.
  void relax(const RoutedRows& routed);
  /// How many experts a row of the last `relax` takes: 1 to top_k.
  std::size_t taken(std::size_t row) const { return taken_[row]; }

  bool looks_at_memory() const { return margin_ > 0; }
  const RelaxationStatistics& statistics() const { return statistics_; }

 private:
  void skip(const RoutedRows& routed, std::size_t row);
  void prefer_resident(const RoutedRows& routed);
  void replace_everywhere(const RoutedRows& routed, std::uint32_t missing);
  std::uint32_t find_replacement(const RoutedRows& routed, std::size_t row, std::uint32_t missing);
  void weigh(const RoutedRows& routed, std::size_t row);
  std::span<const float> scores_of(const RoutedRows& routed, std::size_t row) const {
    return {routed.scores + row * router_.experts, router_.experts};
  }

  const RouterDescription router_;
  const std::vector<float> skip_limits_;  // [layers]
  const float margin_;
  Router weigher_;
  RelaxationStatistics statistics_;
  // Of the last call.
  std::vector<std::uint32_t> taken_;   // [rows]
  std::vector<std::uint8_t> changed_;  // [rows]
  std::vector<std::uint8_t> decided_;  // [experts]: whether it is replaced
  struct Replacement {
    std::size_t place;  // in ids
    std::uint32_t expert;
  };
  std::vector<Replacement> replacements_;  // of one expert
};

}  // namespace sluice

#pragma once
// How right predictors are, while a model runs: the share of a layer's chosen experts that were
// among so many candidates.

#include <array>
#include <string>
#include <vector>

#include "experts/gate_predictor.h"
#include "layers/routing_observer.h"

namespace sluice {

/// k, 1.5 k and 2 k candidates.
std::array<std::size_t, 3> recall_widths(const GateShape& shape);

/// Of one predictor, so many layers ahead.
struct Recall {
  static constexpr std::size_t kWidths = 3;
  struct Layer {
    std::uint64_t chosen = 0;  // experts, where the predictor had something to say
    std::array<std::uint64_t, kWidths> found{};
    std::vector<std::uint64_t> missed;  // [top_k]: by rank, among 1.5 k candidates
  };
  std::string predictor;
  std::uint32_t ahead = 1;
  std::vector<Layer> layers;  // of the model; dense ones, and those it cannot speak of, are empty

  /// Averaged over the layers from `first` on that it spoke of; 0 where there are none.
  double at(std::size_t width, std::uint32_t first = 0) const;
};

/// Asks predictors and compares. They also learn from what it sees.
class GateRecall final : public RoutingObserver {
 public:
  /// A predictor and how far it is asked to look. Borrowed.
  struct Entry {
    GatePredictor* predictor = nullptr;
    std::uint32_t ahead = 1;
    std::string name;
  };
  GateRecall(const GateShape& shape, std::vector<Entry> entries);

  void entering(std::uint32_t layer, std::size_t rows, const float* layer_input) override;
  void routed(const Routing& routing) override;
  const std::vector<Recall>& results() const { return results_; }

 private:
  struct Guess {
    std::size_t rows = 0;               // 0: none
    std::vector<std::uint32_t> likely;  // [rows, 2 k]
  };
  void ask(const GateEvidence& evidence, std::uint32_t first);
  void compare(const GateEvidence& evidence);
  Guess& guess(std::size_t entry, std::uint32_t layer) {
    return guesses_[entry * shape_.layers + layer];
  }

  const GateShape shape_;
  const std::array<std::size_t, Recall::kWidths> widths_;
  const std::vector<Entry> entries_;
  std::vector<Guess> guesses_;  // [entries, layers]
  std::vector<Recall> results_;
};

}  // namespace sluice

#pragma once
// Asks a router gate at one moment of a pass and compares with what the router reads and chooses.

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "engine/model.h"
#include "gates/router_gate.h"

namespace sluice::test {

/// Memory for gates of passes of so many rows.
struct GateRoom {
  std::vector<float> scores, input;
  GateRoom(const ModelDescription& model, std::size_t rows)
      : scores(rows * model.router.experts), input(rows * model.hidden) {}
  GateMemory memory() { return {scores.data(), input.data()}; }
};

/// Asks before attention, one layer ahead; or, with `cheat`, once the router has read its input,
/// which the gate is told to be that of the layer before.
class Foreteller final : public RoutingObserver {
 public:
  Foreteller(Model& model, bool cheat)
      : model_(model),
        cheat_(cheat),
        room_(model.description(), model.max_rows()),
        gate_(model.description(), model.weights().layers(), model.runtime().compute(),
              room_.memory(), cheat ? GateInput::kRouterInput : GateInput::kLayerInput, 1) {}

  void entering(std::uint32_t layer, std::size_t rows, const float* layer_input) override {
    if (!cheat_) ask({.layer = layer, .rows = rows, .layer_input = layer_input}, layer);
  }
  void routed(const Routing& routing) override {
    if (cheat_) {
      ask({.layer = routing.layer - 1, .rows = routing.rows, .router_input = routing.input},
          routing.layer);
    }
    const auto guess = guesses_.extract(routing.layer);
    if (guess.empty()) return;
    ++passes[routing.layer];
    const std::size_t hidden = model_.description().hidden;
    const auto& [input, chosen] = guess.mapped();
    wrong_inputs += !std::equal(input.begin(), input.end(), routing.input,
                                routing.input + routing.rows * hidden);
    for (std::size_t row = 0; row < routing.rows; ++row) {
      const std::uint32_t* const ids = routing.ids + row * routing.top_k;
      wrong_choices += chosen.at(row) != sorted({ids, ids + routing.top_k});
    }
  }

  std::map<std::uint32_t, std::size_t> passes;  // by layer: where it had something to say
  std::size_t wrong_inputs = 0;                 // passes
  std::size_t wrong_choices = 0;                // rows

 private:
  struct Guess {
    std::vector<float> input;                        // [rows, hidden]
    std::vector<std::vector<std::uint32_t>> chosen;  // [rows] of [top_k]
  };
  static std::vector<std::uint32_t> sorted(std::vector<std::uint32_t> ids) {
    std::ranges::sort(ids);
    return ids;
  }
  void ask(const GateEvidence& evidence, std::uint32_t target) {
    if (!gate_.predict(evidence, target)) return;
    Guess& guess = guesses_[target];
    guess.input.assign(gate_.inputs(),
                       gate_.inputs() + evidence.rows * model_.description().hidden);
    guess.chosen.clear();
    std::vector<std::uint32_t> likely(model_.description().router.top_k);
    for (std::size_t row = 0; row < evidence.rows; ++row) {
      gate_.rank(row, likely);
      guess.chosen.push_back(sorted(likely));
    }
  }

  Model& model_;
  const bool cheat_;
  GateRoom room_;
  RouterGate gate_;
  std::map<std::uint32_t, Guess> guesses_;
};

}  // namespace sluice::test

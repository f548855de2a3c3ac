#pragma once
// What a script says of coming layers, as a predictor.

#include <algorithm>
#include <vector>

#include "experts/gate_predictor.h"
#include "layers/routing_script.h"

namespace sluice {

class ScriptedGate final : public GatePredictor {
 public:
  ScriptedGate(RoutingScript& script, const GateShape& shape)
      : script_(script), guess_(shape.top_k), guessed_(shape.experts) {}

  std::string_view name() const override { return "script"; }
  bool predict(const GateEvidence& evidence, std::uint32_t target) override {
    target_ = target;
    return evidence.chosen != nullptr && target == evidence.layer + 1;
  }
  /// The script's guess, then others.
  void rank(std::size_t row, std::span<std::uint32_t> likely) override {
    script_.guess(target_, row, guess_);
    for (const std::uint32_t expert : guess_) guessed_[expert] = true;
    const std::size_t first = std::min(likely.size(), guess_.size());
    std::copy_n(guess_.begin(), first, likely.begin());
    for (std::uint32_t expert = 0, at = static_cast<std::uint32_t>(first); at < likely.size();
         ++expert) {
      if (!guessed_[expert]) likely[at++] = expert;
    }
    for (const std::uint32_t expert : guess_) guessed_[expert] = false;
  }
  void learn(const GateEvidence&) override {}

 private:
  RoutingScript& script_;
  std::uint32_t target_ = 0;
  std::vector<std::uint32_t> guess_;  // [top_k]
  std::vector<bool> guessed_;         // [experts]
};

}  // namespace sluice

#pragma once
// Several predictors as one, which learns as it goes how far to trust each: in which of its places
// their candidates come true, layer by layer, and how much the one knows that another does not.
//
// A predictor's place for an expert becomes a probability, the share of late in which that place
// came true; probabilities are mixed in the logistic domain, with weights that follow the gradient
// of the coding cost (logistic mixing, Mahoney 2005). What spoke at an earlier moment of the pass,
// and has nothing new to say, still counts.

#include <memory>
#include <vector>

#include "experts/gate_predictor.h"

namespace sluice {

class GateCombiner final : public GatePredictor {
 public:
  /// At most kMostMembers.
  GateCombiner(const GateShape& shape, std::vector<std::unique_ptr<GatePredictor>> members);
  static constexpr std::size_t kMostMembers = 6;

  std::string_view name() const override { return "combined"; }
  bool predict(const GateEvidence& evidence, std::uint32_t target) override;
  void rank(std::size_t row, std::span<std::uint32_t> likely) override;
  void learn(const GateEvidence& evidence) override;
  /// How probable the experts of the last `rank` are, in its order.
  std::span<const float> probabilities() const { return probabilities_; }

 private:
  /// What members have said of a layer in this pass.
  struct Guess {
    std::size_t rows = 0;               // 0: nothing
    std::uint32_t spoke = 0;            // bit i: member i
    std::vector<std::uint32_t> asked;   // what `spoke` was whenever somebody asked
    std::vector<std::uint32_t> likely;  // [members, rows, width]
  };
  struct Trust {
    std::vector<float> hits;     // [members, width + 1]: share that came true; the last: of others
    std::vector<float> weights;  // [1 << members, members]
    float seen = 0;              // rows, up to a bound
  };

  static void forget(Guess& guess);
  void place(const Guess& guess, std::size_t row);
  float mix(const Trust& trust, std::uint32_t spoke, std::uint32_t expert);

  const GateShape shape_;
  const std::size_t width_;  // candidates of each member
  const std::vector<std::unique_ptr<GatePredictor>> members_;
  std::vector<Guess> guesses_;  // [layers]
  std::vector<Trust> trusts_;   // [layers]
  std::uint32_t target_ = 0;
  // Of one row.
  std::vector<std::uint16_t> places_;  // [members, experts]; width_: not a candidate
  std::vector<std::uint32_t> union_;   // candidates of any member
  std::vector<bool> listed_;           // [experts]
  std::vector<bool> chosen_;           // [experts]
  std::vector<float> scores_;          // [experts]
  std::vector<float> probabilities_;
  float evidence_[kMostMembers] = {};  // what `mix` went by
};

}  // namespace sluice

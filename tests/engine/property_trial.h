#pragma once
// One seed's model, opened, with a text for it: what the engine makes of it however it is cut, and
// what the reference does.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "engine/session.h"
#include "tests/engine/random_model.h"
#include "tests/engine/reference_model.h"

namespace sluice::test {

/// Positions in the order of evaluation, by layer.
class Recorder : public RoutingObserver {
 public:
  struct Choice {
    std::vector<std::uint32_t> experts;  // sorted
    std::vector<float> scores;           // of every expert
  };
  void routed(const Routing& routing) override;
  std::map<std::uint32_t, std::vector<Choice>> by_layer;
};

class Trial {
 public:
  explicit Trial(std::uint64_t seed);

  const RandomModel& drawn() const { return model_; }
  /// What a checkpoint goes through, from its settings on. REQUIRED before the runs below.
  Status open();

  ReferenceResult reference() const;
  /// What a few roundings may do to it: all weights, and the angles that RoPE turns
  /// by, are off by 2^-22, either way.
  ReferenceResult nudged();

  struct Run {
    std::vector<float> logits;  // [positions, vocabulary]
    Recorder recorder;
  };
  Result<Run> in_one_piece();
  Result<Run> in_chunks();
  /// Other tokens are seen and forgotten on the way; gives what was evaluated after the last
  /// truncation, which left kept() positions.
  Result<Run> after_truncations();
  std::size_t kept() const { return kept_; }
  /// For runs of the test's own.
  Model& model() { return *opened_; }
  std::span<const TokenId> tokens() const { return tokens_; }

 private:
  Status eval_in_chunks(Session& session, Run& run);

  TemporaryFolder folder_;
  Random random_;
  RandomModel model_;
  std::vector<TokenId> tokens_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Model> opened_;
  std::size_t kept_ = 0;
};

}  // namespace sluice::test

#pragma once
// Which experts a layer will want, said before its router is asked. What a predictor says decides
// what is read early, never what is computed: a wrong guess costs a read.
//
// Not thread-safe: one pass at a time.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice {

/// What is known at one moment of a pass, of all its rows. Null: not yet, or no longer.
struct GateEvidence {
  std::uint32_t layer = 0;  // where the pass is; the model's numbering
  std::size_t rows = 0;
  const float* layer_input = nullptr;     // [rows, hidden]: the residual before attention
  const float* router_input = nullptr;    // [rows, hidden]: what the layer's router has read, …
  const std::uint32_t* chosen = nullptr;  // [rows, top_k]: … and chosen, best first
};

/// What tables over experts are made for.
struct GateShape {
  std::uint32_t layers = 0;  // of the model, dense ones included
  std::uint32_t experts = 0;
  std::uint32_t top_k = 0;
};

class GatePredictor {
 public:
  virtual ~GatePredictor() = default;
  virtual std::string_view name() const = 0;

  /// Weighs every expert of layer `target`, which has not been routed yet, for every row. False:
  /// there is nothing to go by. The evidence is borrowed until the last `rank`.
  virtual bool predict(const GateEvidence& evidence, std::uint32_t target) = 0;
  /// The likeliest experts of a row, best first, as many as `likely` has room for. REQUIRES: the
  /// last `predict` of any predictor was this one's and returned true; likely.size() <= experts.
  virtual void rank(std::size_t row, std::span<std::uint32_t> likely) = 0;
  /// What a layer's router chose: `chosen` is there.
  virtual void learn(const GateEvidence& evidence) = 0;
};

/// The indices of the highest scores, best first, as many as `best` has room for; of equal ones the
/// lower first. What is no number comes last.
void rank_scores(std::span<const float> scores, std::span<std::uint32_t> best);

}  // namespace sluice

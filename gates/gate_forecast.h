#pragma once
// What the coming layers will want, asked of predictors at two moments of each layer and handed to
// the store, which reads it while the disk has nothing else to do.
//
//     entering a layer    the residual is there: the layer's own router is asked before attention
//     routed              the next two layers' routers are asked about what this one's has read
//
// For few rows the candidates of all that spoke are mixed, and each has a probability. Where many
// rows are computed only the second moment counts, and an expert as often as rows want it. A router
// that reads the layer's input needs no foretelling: it is certain before attention.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "experts/expert_store.h"
#include "experts/gate_combiner.h"
#include "gates/gate_corrections.h"
#include "gates/router_copies.h"
#include "gates/router_gate.h"
#include "layers/routing_script.h"
#include "layers/scratch.h"

namespace sluice {

struct ForecastOptions {
  std::string_view kind = "auto";  // as GateForecast knows it
  const RouterCopies& copies;
  const GateCorrections& corrections;  // where there are any, in the copies' place
};

class GateForecast {
 public:
  /// What the constructor knows, "auto" first: what both moments say, one of them, what is counted,
  /// or "off".
  static std::vector<std::string> kinds();
  /// Bytes that it and its copies allocate, but for little. REQUIRES: `kind` is one of kinds().
  static std::uint64_t bytes(const ModelDescription& model, std::string_view kind);

  /// Borrows everything but the name. REQUIRES: `options.kind` is one of kinds().
  GateForecast(const ModelDescription& model, const std::vector<LayerWeights>& weights,
               Compute& compute, ExpertStore& store, const Scratch& scratch,
               const ForecastOptions& options);

  /// From now on `script` guesses; null: the predictors do.
  void follow(RoutingScript* script);
  /// False: from now on nothing is asked, handed on or learned, as with the kind "off".
  void enable(bool enabled) { enabled_ = enabled; }
  /// Whether `entering` would look at the residual: nobody need bring it here else.
  bool reads_residual(std::uint32_t layer, std::size_t rows) const;
  /// The layer begins with scratch.residual; scratch.normed and scratch.scores are free.
  void entering(std::uint32_t layer, std::size_t rows);
  /// The layer will want these, after attention.
  void certain(std::uint32_t layer, std::span<const std::uint32_t> experts);
  /// The layer was routed by `router_input` to scratch.expert_ids (what is computed, after a
  /// relaxation), and its visit is open; scratch.scores is free.
  void routed(std::uint32_t layer, std::size_t rows, const float* router_input);

 private:
  bool speaks_of(std::size_t layer, Reach reach) const;
  void expect_mixed(const GateEvidence& evidence, std::uint32_t target);
  void expect_counted(const GateEvidence& evidence, std::uint32_t target, Reach reach);
  void hand_on(std::uint32_t target, Reach reach);

  const ModelDescription& model_;
  ExpertStore& store_;
  const Scratch& scratch_;
  const bool off_;
  bool enabled_ = true;
  bool far_ = false;                          // two layers ahead, too
  bool before_ = false;                       // entering a layer says something new
  std::unique_ptr<GateCombiner> predictors_;  // of few rows; null where nothing is to be foretold
  std::unique_ptr<GatePredictor> counted_;    // of many rows
  RoutingScript* script_ = nullptr;
  std::unique_ptr<GateCombiner> scripted_;           // in the place of predictors_, …
  std::unique_ptr<GatePredictor> scripted_counted_;  // … of counted_
  std::size_t top_k_;
  std::vector<std::uint32_t> candidates_;  // of a row
  std::vector<float> wanted_;         // [experts]: by so many rows; of few, how probably by one
  std::vector<LikelyExpert> likely_;  // best first
};

}  // namespace sluice

#include "gates/gate_forecast.h"

#include <algorithm>

#include "base/clock.h"
#include "experts/counting_gates.h"
#include "gates/scripted_gate.h"

namespace sluice {
namespace {

/// Rows whose candidates are mixed one by one: a decode step of a few sequences.
constexpr std::size_t kFewRows = 8;

struct Kind {
  std::string_view name;
  bool across, far, before, affinity, popularity;
};
// Of "auto": asked before attention, too, it was no faster on a model of 20 layers whose experts
// take 1.2 ms to read. Little of what is then left of the idle time fits a read, and each question
// costs.
constexpr Kind kKinds[] = {
    {"auto", true, true, false, false, false},
    {"both", true, true, true, false, false},
    {"across-layers", true, true, false, false, false},
    {"before-attention", false, false, true, false, false},
    {"affinity", false, false, false, true, false},
    {"popularity", false, false, false, false, true},
    {"off", false, false, false, false, false},
};

const Kind& kind_of(std::string_view name) { return *std::ranges::find(kKinds, name, &Kind::name); }

bool foretells(const ModelDescription& model, std::string_view kind) {
  return kind != "off" && model.router.input != RouterInput::kLayerInput;
}

GateShape shape_of(const ModelDescription& model) {
  return {static_cast<std::uint32_t>(model.layers.size()), model.router.experts,
          model.router.top_k};
}

}  // namespace

std::vector<std::string> GateForecast::kinds() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

std::uint64_t GateForecast::bytes(const ModelDescription& model, std::string_view kind) {
  if (!foretells(model, kind)) return 0;
  return RouterCopies::bytes(model) +
         (kind_of(kind).affinity ? AffinityGate::bytes(shape_of(model)) : 0);
}

GateForecast::GateForecast(const ModelDescription& model, const std::vector<LayerWeights>& weights,
                           Compute& compute, ExpertStore& store, const Scratch& scratch,
                           const ForecastOptions& options)
    : model_(model),
      store_(store),
      scratch_(scratch),
      off_(options.kind == "off"),
      top_k_(model.router.top_k),
      wanted_(model.router.experts) {
  const Kind& asked = kind_of(options.kind);
  const GateShape shape = shape_of(model);
  candidates_.resize(std::min(shape.experts, 2 * shape.top_k));
  likely_.reserve(shape.experts);
  if (!foretells(model, options.kind)) return;
  const auto router = [&](GateInput input, std::uint32_t ahead = 1) {
    auto gate = std::make_unique<RouterGate>(
        model, weights, compute, GateMemory{scratch.scores, scratch.normed.values}, input, ahead);
    options.copies.apply(*gate);
    options.corrections.apply(*gate);
    return gate;
  };
  std::vector<std::unique_ptr<GatePredictor>> members;
  if (asked.across) members.push_back(router(GateInput::kRouterInput));
  far_ = asked.far;
  if (far_) members.push_back(router(GateInput::kRouterInput, 2));
  before_ = asked.before;
  if (asked.before) members.push_back(router(GateInput::kLayerInput));
  if (asked.affinity) members.push_back(std::make_unique<AffinityGate>(shape, 1));
  if (asked.popularity) members.push_back(std::make_unique<PopularityGate>(shape));
  predictors_ = std::make_unique<GateCombiner>(shape, std::move(members));
  counted_ = router(GateInput::kRouterInput);
}

void GateForecast::follow(RoutingScript* script) {
  if (script_ == script) return;
  script_ = script;
  scripted_.reset();
  scripted_counted_.reset();
  GateShape shape = shape_of(model_);
  if (script != nullptr && predictors_ != nullptr) {
    shape.top_k = script->top_k();
    std::vector<std::unique_ptr<GatePredictor>> members;
    members.push_back(std::make_unique<ScriptedGate>(*script, shape));
    scripted_ = std::make_unique<GateCombiner>(shape, std::move(members));
    scripted_counted_ = std::make_unique<ScriptedGate>(*script, shape);
  }
  top_k_ = shape.top_k;
  candidates_.resize(std::min(shape.experts, 2 * shape.top_k));
}

bool GateForecast::speaks_of(std::size_t layer, Reach reach) const {
  return enabled_ && predictors_ != nullptr && layer < model_.layers.size() &&
         model_.layers[layer].sparse && store_.guesses_help(reach);
}

bool GateForecast::reads_residual(std::uint32_t layer, std::size_t rows) const {
  return before_ && rows <= kFewRows && speaks_of(layer, Reach::kGap);
}

void GateForecast::entering(std::uint32_t layer, std::size_t rows) {
  if (!reads_residual(layer, rows)) return;
  expect_mixed({.layer = layer, .rows = rows, .layer_input = scratch_.residual}, layer);
}

void GateForecast::certain(std::uint32_t layer, std::span<const std::uint32_t> experts) {
  if (off_ || !enabled_ || !store_.guesses_help(Reach::kAll)) return;
  likely_.clear();
  for (const std::uint32_t expert : experts) likely_.push_back({expert, 1});
  store_.expect(layer, likely_, Reach::kAll);
}

void GateForecast::routed(std::uint32_t layer, std::size_t rows, const float* router_input) {
  if (!enabled_ || predictors_ == nullptr) return;
  const double start = steady_seconds();
  const GateEvidence evidence{
      .layer = layer, .rows = rows, .router_input = router_input, .chosen = scratch_.expert_ids};
  const bool few = rows <= kFewRows;
  if (few) (scripted_ ? scripted_ : predictors_)->learn(evidence);  // of what was ever asked
  const Reach reach = few || rows * top_k_ < model_.router.experts ? Reach::kGap : Reach::kAll;
  if (!store_.guesses_help(reach)) return;
  if (speaks_of(layer + std::size_t{1}, reach)) {
    few ? expect_mixed(evidence, layer + 1) : expect_counted(evidence, layer + 1, reach);
  }
  if (few && far_ && speaks_of(layer + std::size_t{2}, reach)) expect_mixed(evidence, layer + 2);
  if (reach == Reach::kGap) store_.asked(steady_seconds() - start);
}

void GateForecast::expect_mixed(const GateEvidence& evidence, std::uint32_t target) {
  GateCombiner& predictors = scripted_ ? *scripted_ : *predictors_;
  if (!predictors.predict(evidence, target)) return;
  for (std::size_t row = 0; row < evidence.rows; ++row) {
    predictors.rank(row, candidates_);
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      float& wanted = wanted_[candidates_[i]];
      wanted += (1 - wanted) * predictors.probabilities()[i];
    }
  }
  hand_on(target, Reach::kGap);
}

/// Of many rows nearly every guess is wanted by one: those of most rows first.
void GateForecast::expect_counted(const GateEvidence& evidence, std::uint32_t target, Reach reach) {
  GatePredictor& predictor = scripted_counted_ ? *scripted_counted_ : *counted_;
  if (!predictor.predict(evidence, target)) return;
  const std::span<std::uint32_t> chosen(candidates_.data(), top_k_);
  for (std::size_t row = 0; row < evidence.rows; ++row) {
    predictor.rank(row, chosen);
    for (const std::uint32_t expert : chosen) wanted_[expert] += 1;
  }
  hand_on(target, reach);
}

void GateForecast::hand_on(std::uint32_t target, Reach reach) {
  likely_.clear();
  for (std::uint32_t expert = 0; expert < wanted_.size(); ++expert) {
    if (wanted_[expert] > 0) likely_.push_back({expert, wanted_[expert]});
    wanted_[expert] = 0;
  }
  std::ranges::sort(likely_, [](const LikelyExpert& a, const LikelyExpert& b) {
    return a.wanted != b.wanted ? a.wanted > b.wanted : a.expert < b.expert;
  });
  store_.expect(target, likely_, reach);
}

}  // namespace sluice

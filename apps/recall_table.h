#pragma once
// How right predictors of experts were, as `calibrate` shows it.

#include <nlohmann/json.hpp>
#include <vector>

#include "gates/gate_recall.h"

namespace sluice::apps {

/// [{"predictor","ahead","candidates":[3],"recall":[3],"from_third_layer":[3],
///   "layers":[{"layer","recall":[3]}],"missed_by_rank":[top_k]}], shares of 1.
nlohmann::json recall_json(const std::vector<Recall>& results, const GateShape& shape);
/// The same in words, on standard output.
void print_recall(const std::vector<Recall>& results, const GateShape& shape, std::size_t tokens);

}  // namespace sluice::apps

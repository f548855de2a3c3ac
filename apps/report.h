#pragma once
// The parts of the JSON results that several verbs share (names are promises).

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/model.h"

namespace sluice::apps {

/// {"requests","hits","loads","expected","expected_rightly","late","wasted","warmed",
/// "hit_rate","bytes_read","wait_ms"}
nlohmann::json experts_json(const ExpertStatistics& statistics);
/// Adds "experts", with "layers" that say the same of each under its number "layer" and with the
/// names of "policy" and "predict", "dense" {"bytes_read"} and "memory" {"ram_budget","peak_rss",
/// …}, in bytes; of a model that approximates also "approximations"
/// {"calibrated","chosen","skipped","replaced"}: experts times tokens.
void add_use(nlohmann::json& json, const Model& model);
/// A line on standard error, whatever --quiet says: --stats asked for it.
void print_statistic(const std::string& line);
/// The same in words, for --stats.
void print_statistics(const Model& model);
/// How many experts rest at each width: [{"width","experts"}].
nlohmann::json resting_json(const std::map<unsigned, std::uint64_t>& experts);
/// "experts by bits: 28 at 2, 164 at 3", of that.
std::string resting_words(const nlohmann::json& resting);
/// Standard output, one line.
void print_json(const nlohmann::json& object);

}  // namespace sluice::apps

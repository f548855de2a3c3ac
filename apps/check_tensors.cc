#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "apps/check_step.h"

namespace sluice::apps {
namespace {

// Where the numbers of trained models lie, with room to spare. A matrix is judged by its gain: by
// how much it changes the size of what it is multiplied with, rms · √columns. Networks are
// initialised and trained to keep that near 1, or a deep one would not compute.
constexpr double kLeastGain = 1e-3, kMostGain = 1e3;
constexpr double kMostPeak = 1e3;    // the largest number of a matrix, in rms
constexpr double kMostVector = 1e4;  // rms of norms and biases
constexpr double kMostSibling = 30;  // rms against the median of the same matrices elsewhere
constexpr double kMostZeroRows = 1.0 / 32;
constexpr std::uint64_t kLeastExtent = 16;  // a matrix has that many rows and columns
constexpr std::size_t kLeastSiblings = 4;   // a median means something
constexpr std::size_t kShown = 4;           // findings in the sentence

struct Finding {
  const SurveyedWeight* weight;
  Verdict verdict;
  std::string what;
};

bool is_matrix(const SurveyedWeight& weight) {
  const auto& shape = weight.tensor->shape;
  return shape.size() > 1 && shape.back() >= kLeastExtent && weight.statistics.rows >= kLeastExtent;
}

/// Rows are looked up by token: those of tokens that nobody uses may be anything.
bool is_table(const SurveyedWeight& weight) {
  const std::string& name = weight.tensor->name;
  return name == "token_embd.weight" || name.starts_with("output.");
}

/// "ffn_up_exps.weight": what layers have each.
std::string kind_of(const std::string& name) {
  constexpr std::string_view kLayer = "blk.";
  if (!name.starts_with(kLayer)) return name;
  const std::size_t dot = name.find('.', kLayer.size());
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

/// What is wrong with a weight by itself; empty if nothing is.
std::pair<Verdict, std::string> judge(const SurveyedWeight& weight) {
  const WeightStatistics& all = weight.statistics;
  const std::uint64_t columns = all.rows == 0 ? 1 : all.count / all.rows;
  if (all.not_finite != 0) {
    return {Verdict::kFailed,
            fmt::format("{} of {} numbers are not finite, the first in row {}, column {}",
                        all.not_finite, all.count, all.first_not_finite / columns,
                        all.first_not_finite % columns)};
  }
  const std::string& name = weight.tensor->name;
  if (!is_matrix(weight)) {
    if (all.zero() && name.ends_with("norm.weight")) return {Verdict::kFailed, "is all zeros"};
    if (all.rms() > kMostVector && !name.starts_with("rope_")) {
      return {Verdict::kSuspicious, fmt::format("has numbers of {:.3g} (rms)", all.rms())};
    }
    return {};
  }
  if (all.zero()) return {Verdict::kFailed, "is all zeros"};
  if (all.constant()) return {Verdict::kFailed, fmt::format("is {:.3g} throughout", all.most)};
  const double gain = all.rms() * std::sqrt(static_cast<double>(columns));
  if (gain < kLeastGain || gain > kMostGain) {
    return {Verdict::kSuspicious,
            fmt::format("has a gain of {:.3g}, outside {:g} to {:g}", gain, kLeastGain, kMostGain)};
  }
  if (all.peak() > kMostPeak * all.rms()) {
    return {Verdict::kSuspicious, fmt::format("has a number of {:.3g}, {:.0f} times its rms",
                                              all.peak(), all.peak() / all.rms())};
  }
  const auto rows = static_cast<double>(all.rows);
  if (!is_table(weight) && static_cast<double>(all.zero_rows) > kMostZeroRows * rows) {
    return {Verdict::kSuspicious, fmt::format("{} of {} rows are zeros", all.zero_rows, all.rows)};
  }
  return {};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// The same matrix of all layers and experts.
class Siblings {
 public:
  void add(const SurveyedWeight& weight) { weights_.push_back(&weight); }

  void compare(std::vector<Finding>& findings) const {
    std::vector<double> sizes;
    for (const SurveyedWeight* weight : weights_) sizes.push_back(weight->statistics.rms());
    const double middle = median(sizes);
    if (weights_.size() >= kLeastSiblings) {
      for (std::size_t i = 0; i < weights_.size(); ++i) {
        const double ratio = sizes[i] / middle;
        if (ratio <= kMostSibling && ratio >= 1 / kMostSibling) continue;
        findings.push_back(
            {weights_[i], Verdict::kSuspicious,
             fmt::format("has an rms of {:.3g} where its siblings have {:.3g}", sizes[i], middle)});
      }
    }
    // Sums of so many numbers agree to the last bit only if the numbers do.
    std::map<std::pair<double, double>, const SurveyedWeight*> seen;
    for (const SurveyedWeight* weight : weights_) {
      const WeightStatistics& all = weight->statistics;
      const auto [first, fresh] = seen.try_emplace({all.sum, all.squares}, weight);
      if (fresh) continue;
      findings.push_back(
          {weight, Verdict::kSuspicious, "has the very numbers of " + first->second->name()});
    }
  }

  nlohmann::json json() const {
    std::vector<double> sizes;
    double peak = 0;
    for (const SurveyedWeight* weight : weights_) {
      sizes.push_back(weight->statistics.rms());
      peak = std::max<double>(peak, weight->statistics.peak());
    }
    const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
    return {{"matrices", sizes.size()},
            {"rms", {{"least", *least}, {"median", median(sizes)}, {"most", *most}}},
            {"peak", peak}};
  }

 private:
  std::vector<const SurveyedWeight*> weights_;
};

std::string sentence(const std::vector<Finding>& findings) {
  std::string text;
  for (std::size_t i = 0; i < std::min(findings.size(), kShown); ++i) {
    text += (i == 0 ? "" : "; ") + findings[i].weight->name() + " " + findings[i].what;
  }
  if (findings.size() > kShown) {
    text += fmt::format("; and {} more (--json lists all)", findings.size() - kShown);
  }
  return text;
}

}  // namespace

CheckStep check_tensors(const std::vector<SurveyedWeight>& weights, const Checkpoint& checkpoint) {
  CheckStep step{.name = "tensors", .found = {}, .remedy = {}};
  std::vector<Finding> findings;
  std::map<std::string, Siblings> kinds;
  std::uint64_t numbers = 0, experts = 0;
  for (const SurveyedWeight& weight : weights) {
    numbers += weight.statistics.count;
    experts += weight.stacked ? 1 : 0;
    auto [verdict, what] = judge(weight);
    const bool sound = what.empty();
    if (!sound) findings.push_back({&weight, verdict, std::move(what)});
    if (is_matrix(weight) && (sound || verdict == Verdict::kSuspicious)) {
      kinds[kind_of(weight.tensor->name)].add(weight);
    }
  }
  for (const auto& [kind, siblings] : kinds) siblings.compare(findings);
  std::ranges::stable_sort(findings, std::greater(), &Finding::verdict);

  step.details = {{"tensors", checkpoint.tensors.size()},
                  {"expert_matrices", experts},
                  {"numbers", numbers},
                  {"findings", nlohmann::json::array()},
                  {"bounds",
                   {{"gain", {kLeastGain, kMostGain}},
                    {"peak_in_rms", kMostPeak},
                    {"vector_rms", kMostVector},
                    {"rms_against_siblings", kMostSibling},
                    {"zero_rows", kMostZeroRows}}}};
  for (const auto& [kind, siblings] : kinds) step.details["kinds"][kind] = siblings.json();
  for (const Finding& finding : findings) {
    nlohmann::json one{{"tensor", finding.weight->tensor->name},
                       {"verdict", name_of(finding.verdict)},
                       {"what", finding.what}};
    if (finding.weight->stacked) one["expert"] = finding.weight->expert;
    step.details["findings"].push_back(std::move(one));
  }
  if (findings.empty()) {
    step.found = fmt::format(
        "{:.1f} million numbers in {} tensors ({} of experts) are finite, of usual and like sizes",
        static_cast<double>(numbers) / 1e6, checkpoint.tensors.size(), experts);
    return step;
  }
  step.verdict = findings.front().verdict;
  step.found = sentence(findings);
  step.remedy = step.verdict == Verdict::kFailed
                    ? "the file is damaged: compare its checksum, or download it again"
                    : "unusual, and perhaps right: compare the file's checksum with its source's";
  return step;
}

}  // namespace sluice::apps

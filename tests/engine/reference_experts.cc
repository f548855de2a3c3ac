#include "tests/engine/reference_experts.h"

#include <algorithm>
#include <limits>
#include <numbers>
#include <numeric>

namespace sluice::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Candidates by their scores, the best first; of equal ones the first.
std::vector<std::uint32_t> ranked(std::vector<std::uint32_t> candidates, const Vector& scores) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  return candidates;
}

/// Between the last that is taken and the first that is not.
double margin_after(const std::vector<std::uint32_t>& order, std::size_t taken,
                    const Vector& scores) {
  if (taken >= order.size()) return kInfinity;
  return scores[order[taken - 1]] - scores[order[taken]];
}

std::vector<std::uint32_t> up_to(std::size_t count) {
  std::vector<std::uint32_t> all(count);
  std::iota(all.begin(), all.end(), 0u);
  return all;
}

std::vector<std::uint32_t> members(std::uint32_t group, std::size_t size) {
  std::vector<std::uint32_t> all = up_to(size);
  for (std::uint32_t& expert : all) expert += group * static_cast<std::uint32_t>(size);
  return all;
}

/// The best `count` of `candidates`.
void take_best(std::vector<std::uint32_t> candidates, std::size_t count, const Vector& scores,
               ReferenceChoice& choice) {
  candidates = ranked(std::move(candidates), scores);
  choice.margin = std::min(choice.margin, margin_after(candidates, count, scores));
  candidates.resize(count);
  choice.experts.insert(choice.experts.end(), candidates.begin(), candidates.end());
}

void choose(const RouterDescription& router, const Vector& scores, ReferenceChoice& choice) {
  if (router.groups == RouterGroups::kNone) {
    return take_best(up_to(scores.size()), router.top_k, scores, choice);
  }
  const std::size_t size = scores.size() / router.group_count;
  if (router.groups == RouterGroups::kOneEach) {
    for (std::uint32_t group = 0; group < router.group_count; ++group) {
      take_best(members(group, size), 1, scores, choice);
    }
    return;
  }
  const std::size_t counted =
      router.groups == RouterGroups::kBestTwo ? std::min<std::size_t>(2, size) : 1;
  Vector worth;
  for (std::uint32_t group = 0; group < router.group_count; ++group) {
    const std::vector<std::uint32_t> order = ranked(members(group, size), scores);
    worth.push_back(0);
    for (std::size_t i = 0; i < counted; ++i) worth.back() += scores[order[i]];
  }
  const std::vector<std::uint32_t> groups = ranked(up_to(router.group_count), worth);
  choice.margin = margin_after(groups, router.groups_used, worth);
  std::vector<std::uint32_t> candidates;
  for (std::size_t i = 0; i < router.groups_used; ++i) {
    const std::vector<std::uint32_t> all = members(groups[i], size);
    candidates.insert(candidates.end(), all.begin(), all.end());
  }
  std::sort(candidates.begin(), candidates.end());
  take_best(std::move(candidates), router.top_k, scores, choice);
}

/// Sparsemixer (arXiv 2310.00811) at inference: the best expert is weighed by a softmax over those
/// that come near it, then it is out of the race.
void mix(const RouterDescription& router, const Vector& logits, ReferenceChoice& choice) {
  std::vector<std::uint32_t> left = ranked(up_to(logits.size()), logits);
  for (std::uint32_t rank = 0; rank < router.top_k; ++rank) {
    const double best = logits[left[0]];
    choice.margin = std::min(choice.margin, margin_after(left, 1, logits));
    double total = 0;
    for (const std::uint32_t expert : left) {
      const double distance = (best - logits[expert]) / std::max(std::abs(logits[expert]), best);
      const double limit = 2 * double{router.jitter};
      if (expert != left[0]) choice.margin = std::min(choice.margin, std::abs(distance - limit));
      if (distance <= limit) total += std::exp(logits[expert] - best);
    }
    choice.experts.push_back(left[0]);
    choice.weights.push_back(1 / total);
    left.erase(left.begin());
  }
}

Vector softmax(Vector x) {
  const double peak = *std::max_element(x.begin(), x.end());
  double total = 0;
  for (double& value : x) total += value = std::exp(value - peak);
  for (double& value : x) value /= total;
  return x;
}

double activate(const ModelDescription& model, double gate, double up) {
  switch (model.activation) {
    case Activation::kSilu:
      return silu(gate) * up;
    case Activation::kGeluTanh: {
      const double inner = std::sqrt(2 / std::numbers::pi) * (gate + 0.044715 * gate * gate * gate);
      return 0.5 * gate * (1 + std::tanh(inner)) * up;
    }
    case Activation::kGelu:
      return 0.5 * gate * std::erfc(-gate / std::numbers::sqrt2) * up;
    case Activation::kRelu:
      return std::max(gate, 0.0) * up;
    case Activation::kClampedSwiglu: {
      const double limit = model.swiglu_limit;
      const double least = std::min(gate, limit);
      return least * sigmoid(model.swiglu_alpha * least) *
             (std::min(std::max(up, -limit), limit) + 1);
    }
  }
  return 0;
}

}  // namespace

ReferenceChoice reference_choice(const RouterDescription& router, const Vector& logits,
                                 Numbers selection_bias) {
  ReferenceChoice choice;
  choice.margin = kInfinity;
  if (router.score == RouterScore::kSparsemixer) {
    choice.scores = logits;
    mix(router, logits, choice);
  } else {
    choice.scores = router.score == RouterScore::kSoftmax ? softmax(logits) : logits;
    if (router.score == RouterScore::kSigmoid) {
      for (double& score : choice.scores) score = sigmoid(score);
    }
    Vector biased = choice.scores;
    for (std::size_t i = 0; i < selection_bias.size(); ++i) biased[i] += selection_bias[i];
    choose(router, biased, choice);
    for (const std::uint32_t expert : choice.experts) {
      choice.weights.push_back(choice.scores[expert]);
    }
  }
  if (router.renormalise) {
    scale(choice.weights, 1 / std::accumulate(choice.weights.begin(), choice.weights.end(), 0.0));
  }
  scale(choice.weights, router.scale);
  return choice;
}

Vector ReferenceNetwork::hidden(const ModelDescription& model, const Vector& x) const {
  Vector middle = multiply(gate, x, gate_bias);
  const Vector ups = multiply(up, x, up_bias);
  for (std::size_t i = 0; i < middle.size(); ++i) middle[i] = activate(model, middle[i], ups[i]);
  return middle;
}

}  // namespace sluice::test

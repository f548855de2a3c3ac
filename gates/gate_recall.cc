#include "gates/gate_recall.h"

#include <algorithm>
#include <utility>

#include "gates/router_gate.h"

namespace sluice {

std::array<std::size_t, 3> recall_widths(const GateShape& shape) {
  return {shape.top_k, std::min(shape.experts, (3 * shape.top_k + 1) / 2),
          std::min(shape.experts, 2 * shape.top_k)};
}

double Recall::at(std::size_t width, std::uint32_t first) const {
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t i = first; i < layers.size(); ++i) {
    if (layers[i].chosen == 0) continue;
    sum += static_cast<double>(layers[i].found[width]) / static_cast<double>(layers[i].chosen);
    ++count;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

GateRecall::GateRecall(const GateShape& shape, std::vector<Entry> entries)
    : shape_(shape),
      widths_(recall_widths(shape)),
      entries_(std::move(entries)),
      guesses_(entries_.size() * shape.layers) {
  for (const Entry& entry : entries_) {
    Recall& result = results_.emplace_back();
    result.predictor = entry.name;
    result.ahead = entry.ahead;
    result.layers.resize(shape.layers);
    for (Recall::Layer& layer : result.layers) layer.missed.resize(shape.top_k);
  }
}

void GateRecall::entering(std::uint32_t layer, std::size_t rows, const float* layer_input) {
  ask({.layer = layer, .rows = rows, .layer_input = layer_input}, layer);
}

void GateRecall::routed(const Routing& routing) {
  const GateEvidence evidence = evidence_of(routing);
  compare(evidence);
  for (const Entry& entry : entries_) entry.predictor->learn(evidence);
  ask(evidence, routing.layer + 1);
}

/// `first`: the next router to be asked. A later guess replaces an earlier one.
void GateRecall::ask(const GateEvidence& evidence, std::uint32_t first) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const std::uint32_t target = first + entries_[i].ahead - 1;
    if (target >= shape_.layers || !entries_[i].predictor->predict(evidence, target)) continue;
    Guess& guess = this->guess(i, target);
    guess.rows = evidence.rows;
    guess.likely.resize(evidence.rows * widths_.back());
    for (std::size_t row = 0; row < evidence.rows; ++row) {
      entries_[i].predictor->rank(
          row, std::span(guess.likely).subspan(row * widths_.back(), widths_.back()));
    }
  }
}

void GateRecall::compare(const GateEvidence& evidence) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Guess& guess = this->guess(i, evidence.layer);
    Recall::Layer& layer = results_[i].layers[evidence.layer];
    const std::size_t rows = std::exchange(guess.rows, 0);
    if (rows != evidence.rows) continue;  // of a pass that was stopped
    for (std::size_t row = 0; row < rows; ++row) {
      const auto likely = guess.likely.begin() + static_cast<std::ptrdiff_t>(row * widths_.back());
      for (std::size_t rank = 0; rank < shape_.top_k; ++rank) {
        const std::uint32_t expert = evidence.chosen[row * shape_.top_k + rank];
        const auto end = likely + static_cast<std::ptrdiff_t>(widths_.back());
        const auto place = static_cast<std::size_t>(std::find(likely, end, expert) - likely);
        layer.chosen += 1;
        for (std::size_t width = 0; width < widths_.size(); ++width) {
          layer.found[width] += place < widths_[width];
        }
        layer.missed[rank] += place >= widths_[1];
      }
    }
  }
}

}  // namespace sluice

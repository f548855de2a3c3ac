#include "engine/width_choice.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

namespace sluice {
namespace {

/// An expert's bits a weight, when it is made of its first `parts`.
double bits_of(const ExpertLayer& layer, std::size_t parts) {
  std::uint64_t bytes = 0;
  for (const WeightView& view : layer.views) {
    WeightMatrix matrix = view.matrix;
    if (!layer.widths.empty()) {
      matrix.nested.width = std::min(layer.widths[parts - 1], matrix.nested.form->bits);
    }
    bytes += matrix.bytes();
  }
  return 8 * static_cast<double>(bytes) / (3.0 * static_cast<double>(layer.hidden * layer.ffn));
}

}  // namespace

WidthChoice::WidthChoice(const ExpertCatalogue& catalogue, std::vector<float> narrow)
    : narrow_(std::move(narrow)) {
  for (const ExpertLayer& layer : catalogue.layers()) {
    widths_.resize(layer.layer + std::size_t{1});
    cost_.resize(widths_.size());
    most_.resize(widths_.size());
    for (std::size_t expert = 0; expert < layer.experts; ++expert) {
      most_.back().push_back(static_cast<std::uint8_t>(layer.parts_there(expert) - 1));
    }
    widths_.back() = layer.widths;
    if (layer.widths.empty()) widths_.back() = {static_cast<std::uint8_t>(kExactWidth)};
    for (std::size_t parts = 1; parts <= layer.parts(); ++parts) {
      cost_.back().push_back(bits_of(layer, parts));
    }
  }
  for (const auto& widths : widths_) rows_.emplace_back(widths.size());
}

std::size_t WidthChoice::level(std::uint32_t layer, std::uint32_t expert, std::size_t row,
                               std::size_t rank, float share) const {
  const auto written = script_ == nullptr ? std::nullopt : script_->level(layer, row, rank);
  return std::min<std::size_t>(written ? *written : level_of_share(layer, share),
                               most_[layer][expert]);
}

std::size_t WidthChoice::level_of_share(std::uint32_t layer, float share) const {
  const std::vector<std::uint8_t>& widths = widths_[layer];
  std::size_t level = 0;
  float limit = narrow_[layer];
  for (unsigned bits = widths.front(); share > limit && level + 1 < widths.size(); ++bits) {
    limit *= 2;
    if (bits + 1 > widths[level]) level += 1;
  }
  return level;
}

void WidthChoice::count(std::uint32_t layer, std::size_t level, std::size_t rows) {
  rows_[layer][level] += rows;
}

std::vector<WidthChoice::Use> WidthChoice::uses() const {
  std::map<std::uint8_t, std::uint64_t> sums;
  for (std::size_t layer = 0; layer < widths_.size(); ++layer) {
    for (std::size_t level = 0; level < widths_[layer].size(); ++level) {
      sums[widths_[layer][level]] += rows_[layer][level];
    }
  }
  std::vector<Use> uses;
  for (const auto& [bits, rows] : sums) uses.push_back({bits, rows});
  return uses;
}

double WidthChoice::mean_bits() const {
  double bits = 0, rows = 0;
  for (std::size_t layer = 0; layer < widths_.size(); ++layer) {
    for (std::size_t level = 0; level < widths_[layer].size(); ++level) {
      bits += cost_[layer][level] * static_cast<double>(rows_[layer][level]);
      rows += static_cast<double>(rows_[layer][level]);
    }
  }
  return rows == 0 ? 0 : bits / rows;
}

}  // namespace sluice

#include "engine/width_choice.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/nested_error.h"

namespace sluice {
namespace {

/// About what two bits of every form err but MXFP4's, which is 0.37.
constexpr float kUsualError = 0.3f;

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

/// How much an expert typically errs at a width: as its three matrices do together, each relative
/// to itself.
float error_of(const ExpertLayer& layer, std::uint8_t width) {
  float squares = 0;
  for (const WeightView& view : layer.views) {
    const NestedForm& form = *view.matrix.nested.form;
    const float error = typical_nested_error(form, form.groups_within(width));
    squares += error * error;
  }
  return std::sqrt(squares / static_cast<float>(layer.views.size()));
}

}  // namespace

WidthChoice::WidthChoice(const ExpertCatalogue& catalogue) {
  for (const ExpertLayer& layer : catalogue.layers()) {
    layers_.resize(layer.layer + std::size_t{1});
    Layer& made = layers_.back();
    for (std::size_t expert = 0; expert < layer.experts; ++expert) {
      made.most.push_back(static_cast<std::uint8_t>(layer.parts_there(expert) - 1));
    }
    made.widths = layer.widths;
    if (layer.widths.empty()) made.widths = {static_cast<std::uint8_t>(kExactWidth)};
    for (std::size_t parts = 1; parts <= layer.parts(); ++parts) {
      made.cost.push_back(bits_of(layer, parts));
    }
  }
  rows_ = std::vector<std::atomic<std::uint64_t>>(layers_.size() * kMostNestedGroups);
}

WidthChoice::WidthChoice(const ExpertCatalogue& catalogue, const std::vector<float>& narrow)
    : WidthChoice(catalogue) {
  for (const ExpertLayer& layer : catalogue.layers()) {
    const float bearable = narrow[layer.layer] * kUsualError;
    // The widest bears any share.
    for (std::size_t level = 0; level + 1 < layer.widths.size(); ++level) {
      layers_[layer.layer].limits.push_back(bearable / error_of(layer, layer.widths[level]));
    }
  }
}

WidthChoice::WidthChoice(const ExpertCatalogue& catalogue,
                         const std::map<std::uint32_t, std::vector<std::uint8_t>>& rests)
    : WidthChoice(catalogue) {
  for (const auto& [number, widths] : rests) {
    const ExpertLayer& layer = *catalogue.find(number);
    std::vector<std::uint8_t>& most = layers_[number].most;
    for (std::size_t expert = 0; expert < most.size(); ++expert) {
      const std::size_t parts = layer.parts_of(widths[expert]);
      most[expert] = std::min(most[expert], static_cast<std::uint8_t>(parts - 1));
    }
  }
  for (Layer& layer : layers_) layer.limits.assign(layer.widths.size(), -1);
}

std::size_t WidthChoice::level(std::uint32_t layer, std::uint32_t expert, std::size_t row,
                               std::size_t rank, float share) const {
  const Layer& of = layers_[layer];
  const std::size_t most = of.most[expert];
  const auto written = script_ == nullptr ? std::nullopt : script_->level(layer, row, rank);
  if (written) return std::min<std::size_t>(*written, most);
  std::size_t level = 0;
  while (level < most && share > of.limits[level]) ++level;
  return level;
}

float WidthChoice::narrowest() const {
  float sum = 0, layers = 0;
  for (const Layer& layer : layers_) {
    if (layer.limits.empty()) continue;
    sum += layer.limits.front();
    layers += 1;
  }
  return layers == 0 ? 0 : sum / layers;
}

void WidthChoice::count(std::uint32_t layer, std::size_t level, std::size_t rows) {
  this->rows(layer, level).fetch_add(rows, std::memory_order_relaxed);
}

std::vector<WidthChoice::Use> WidthChoice::uses() const {
  std::map<std::uint8_t, std::uint64_t> sums;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    for (std::size_t level = 0; level < layers_[layer].widths.size(); ++level) {
      sums[layers_[layer].widths[level]] += rows(layer, level);
    }
  }
  std::vector<Use> uses;
  for (const auto& [bits, rows] : sums) uses.push_back({bits, rows});
  return uses;
}

double WidthChoice::mean_bits() const {
  double bits = 0, all = 0;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    for (std::size_t level = 0; level < layers_[layer].widths.size(); ++level) {
      const auto taken = static_cast<double>(rows(layer, level));
      bits += layers_[layer].cost[level] * taken;
      all += taken;
    }
  }
  return all == 0 ? 0 : bits / all;
}

}  // namespace sluice

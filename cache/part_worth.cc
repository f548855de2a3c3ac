#include "cache/part_worth.h"

#include <utility>

namespace sluice {
namespace {

/// Half of a count is forgotten after some forty uses of the expert, or of its layer's experts.
constexpr float kUseDecay = 63.0f / 64, kLayerDecay = 1023.0f / 1024;
/// Of an expert that was wanted seldom, the layer's shares say more.
constexpr float kPriorUses = 4;
/// Until something was wanted, each part is taken to be wanted a little less than the one before.
constexpr float kFirstShare = 0.9f;

}  // namespace

PartWorth::PartWorth(const CacheShape& shape, std::unique_ptr<WorthModel> experts)
    : WorthModel(shape),
      experts_(std::move(experts)),
      uses_(shape.size()),
      layer_uses_(std::size_t{shape.layers()} * shape.plane_groups()) {
  for (std::uint32_t layer = 0; layer < shape.layers(); ++layer) {
    float share = 1;
    for (std::uint32_t group = 0; group < groups(); ++group, share *= kFirstShare) {
      layer_uses_[layer * groups() + group] = share;
    }
  }
}

void PartWorth::visit(std::uint32_t layer) { experts_->visit(layer); }

void PartWorth::touch(std::uint32_t layer, std::uint32_t index, float score) {
  const std::uint32_t group = index % groups();
  float* const layer_uses = layer_uses_.data() + std::size_t{layer} * groups();
  if (group == 0) {
    experts_->touch(layer, expert_of(index), score);
    for (std::uint32_t i = 0; i < groups(); ++i) {
      uses_[index + i] *= kUseDecay;
      layer_uses[i] *= kLayerDecay;
    }
  }
  uses_[index] += 1;
  layer_uses[group] += 1;
}

float PartWorth::share(std::uint32_t layer, std::uint32_t index) const {
  const std::uint32_t group = index % groups();
  if (group == 0) return 1;
  const float* const layer_uses = layer_uses_.data() + std::size_t{layer} * groups();
  const float prior = layer_uses[group] / layer_uses[0];
  return (uses_[index] + kPriorUses * prior) / (uses_[index - group] + kPriorUses);
}

}  // namespace sluice

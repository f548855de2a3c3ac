#pragma once
// What parts of experts are worth (the planes of nested ones, each a key of its own): an expert is
// worth what a model of whole experts says, and a part the share of it that goes with how often
// those who wanted the expert wanted the part, too.
//
// So what the model has learned of experts holds, and a part that is seldom wanted is given up
// before another expert's first part that is wanted more often.

#include <memory>
#include <vector>

#include "cache/worth_model.h"

namespace sluice {

class PartWorth final : public WorthModel {
 public:
  /// `experts`: made for `shape.whole_experts()`.
  PartWorth(const CacheShape& shape, std::unique_ptr<WorthModel> experts);

  std::string_view name() const override { return experts_->name(); }
  void visit(std::uint32_t layer) override;
  void touch(std::uint32_t layer, std::uint32_t index, float score) override;
  float worth(std::uint32_t layer, std::uint32_t index) const override {
    return experts_->worth(layer, expert_of(index)) * share(layer, index);
  }
  float distance_of(float worth, float ahead) const override {
    return experts_->distance_of(worth, ahead);
  }
  float foreseen(std::uint32_t layer, std::uint32_t index) const override {
    return experts_->foreseen(layer, expert_of(index)) * share(layer, index);
  }
  /// Above 0; 1 of first parts.
  float share(std::uint32_t layer, std::uint32_t index) const override;

 private:
  std::uint32_t groups() const { return shape().plane_groups(); }
  std::uint32_t expert_of(std::uint32_t index) const { return index / groups(); }

  std::unique_ptr<WorthModel> experts_;
  std::vector<float> uses_;        // [keys] decayed with the uses of their experts
  std::vector<float> layer_uses_;  // [layers, groups] decayed with the layers' uses
};

/// A model of experts, for whatever they are read in.
template <typename Model, typename... Arguments>
std::shared_ptr<WorthModel> make_worth(const CacheShape& shape, const Arguments&... arguments) {
  if (shape.plane_groups() == 1) return std::make_shared<Model>(shape, arguments...);
  return std::make_shared<PartWorth>(shape,
                                     std::make_unique<Model>(shape.whole_experts(), arguments...));
}

}  // namespace sluice

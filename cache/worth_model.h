#pragma once
// How much an expert is worth keeping, whoever is resident: an estimate that changes only when its
// layer is visited, made from what the layer's visits wanted. LayeredPolicy turns it into a
// CachePolicy; several caches of one routing can share one model.

#include <cstdint>
#include <string_view>

#include "cache/cache_policy.h"

namespace sluice {

class WorthModel {
 public:
  virtual ~WorthModel() = default;
  virtual std::string_view name() const = 0;

  /// A layer's turn begins.
  virtual void visit(std::uint32_t layer) = 0;
  /// The visit wants the key of this number. `score` as in CachePolicy::touch.
  virtual void touch(std::uint32_t layer, std::uint32_t index, float score) = 0;
  /// Higher is kept longer; of the layer's own scale.
  virtual float worth(std::uint32_t layer, std::uint32_t index) const = 0;
  /// What compares layers: falls with the worth of an expert. `ahead`: the part of a cycle until
  /// its layer's next turn, above 0 and at most 1.
  virtual float distance_of(float worth, float ahead) const = 0;
  /// The probability that the layer's next turn wants the expert, as far as the model foresees it
  /// beyond what its worth says; changes from visit to visit.
  virtual float foreseen(std::uint32_t, std::uint32_t) const { return 0; }
  /// Of those who want the key's expert, the share that want this part of it.
  virtual float share(std::uint32_t, std::uint32_t) const { return 1; }

 protected:
  explicit WorthModel(const CacheShape& shape) : shape_(shape) {}
  const CacheShape& shape() const { return shape_; }

 private:
  CacheShape shape_;
};

}  // namespace sluice

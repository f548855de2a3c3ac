#pragma once
// The shares of MixedFrequency, and the votes of earlier tokens that went the same
// way for what this token and the next one will want. An expert that is wanted at its layer's next
// turn with probability p, and else after 1/f turns as ever, is (1 - p) / f + d away.

#include "cache/mixed_frequency.h"
#include "cache/routing_paths.h"

namespace sluice {

class PathFrequency final : public MixedFrequency {
 public:
  explicit PathFrequency(const CacheShape& shape) : MixedFrequency(shape), paths_(shape) {}
  std::string_view name() const override { return "paths"; }
  void visit(std::uint32_t layer) override {
    MixedFrequency::visit(layer);
    paths_.visit(layer);
  }
  void touch(std::uint32_t layer, std::uint32_t index, float score) override {
    MixedFrequency::touch(layer, index, score);
    paths_.touch(layer, index);
  }
  float foreseen(std::uint32_t layer, std::uint32_t index) const override {
    return paths_.share(layer, index);
  }

 private:
  mutable RoutingPaths paths_;  // votes are counted when they are asked for
};

}  // namespace sluice

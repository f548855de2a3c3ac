#pragma once
// Gives up the least worthy as a WorthModel has it: each layer's least worthy resident is
// remembered between visits, so a victim costs O(layers + experts of a layer).
//
// What is foreseen of the layers' next turns, by somebody else or by the model itself, raises
// worths: an expert that comes with probability p is worth 1 / (1 - p) times as much.

#include <memory>

#include "cache/worth_model.h"

namespace sluice {

class LayeredPolicy final : public CachePolicy {
 public:
  /// Of a model shared with others, only one policy `feeds` it, and is shown every visit first.
  LayeredPolicy(const CacheShape& shape, std::shared_ptr<WorthModel> model, bool feeds = true);

  std::string_view name() const override { return model_->name(); }
  void visit(std::uint32_t layer) override;
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  void expect(CacheKey key, float probability) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Layer {
    // The evictable resident of the least worth, or kNone; holds while `known`.
    std::uint32_t coldest = kNone;
    float worth = 0;
    bool known = false;
    bool expected = false;  // something of it is, until its turn comes
  };
  struct Candidate {
    std::uint32_t index = kNone;
    float worth = 0;  // as raised
  };

  float ahead(std::uint32_t layer) const;
  float raised(std::uint32_t layer, std::uint32_t index, float worth) const;
  void find_coldest(std::uint32_t layer, const Evictable& evictable);
  Candidate find_candidate(std::uint32_t layer, const Evictable& evictable) const;

  CacheShape shape_;
  std::shared_ptr<WorthModel> model_;
  bool feeds_;
  std::uint32_t current_ = 0;  // layer of the last visit
  std::vector<Layer> layers_;
  std::vector<std::uint8_t> resident_;  // [keys]
  std::vector<float> expected_;         // [keys] probabilities
  std::vector<float> worths_;           // [keys] of residents, as their layer was last searched
};

}  // namespace sluice

#pragma once
// What policies have in common that give every expert a worth which changes only when its layer is
// visited: each layer's least worthy resident is remembered between visits, so a victim costs
// O(layers + experts of a layer).
//
// What is foreseen of the layers' next turns, by somebody else or by the policy itself, raises
// worths: an expert that comes with probability p is worth 1 / (1 - p) times as much.

#include "cache/cache_policy.h"

namespace sluice {

class LayeredPolicy : public CachePolicy {
 public:
  void visit(std::uint32_t layer) final;
  void touch(CacheKey key, float score) final;
  void admit(CacheKey key, std::uint64_t bytes) final;
  void forget(CacheKey key) final;
  void expect(CacheKey key, float probability) final;
  std::optional<CacheKey> victim(const Evictable& evictable) final;
  double distance(CacheKey key) const final;

 protected:
  explicit LayeredPolicy(const CacheShape& shape);

  /// A layer's turn begins.
  virtual void on_visit(std::uint32_t layer) = 0;
  virtual void on_touch(std::uint32_t layer, std::uint32_t index, float score) = 0;
  /// Higher is kept longer; of the layer's own scale.
  virtual float worth(std::uint32_t layer, std::uint32_t index) const = 0;
  /// What compares layers: falls with the worth of an expert. `ahead`: the part of a cycle until
  /// its layer's next turn, above 0 and at most 1.
  virtual float distance_of(float worth, float ahead) const = 0;
  /// The probability that the layer's next turn wants the expert, as far as the policy foresees it
  /// beyond what its worth says; changes from visit to visit.
  virtual float foreseen(std::uint32_t, std::uint32_t) const { return 0; }

  const CacheShape& shape() const { return shape_; }

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
  std::uint32_t current_ = 0;  // layer of the last visit
  std::vector<Layer> layers_;
  std::vector<std::uint8_t> resident_;  // [keys]
  std::vector<float> expected_;         // [keys] probabilities
};

}  // namespace sluice

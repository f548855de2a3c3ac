#pragma once
// Give up the expert whose next use is expected to be farthest away.
//
// For every expert, resident or not, it estimates the share of its layer's visits that want it,
// from two exponentially decayed counts: a fast one (a token's experts tend to be the next token's)
// and a slow one (a text has its favourites). So a newcomer brings its history, and a scan (a
// prefill that wants everything) raises all alike and disturbs nothing. An expert wanted in a share
// f of visits is next wanted, in expectation, after 1/f of its layer's turns, the first of which is
// d of a cycle away; the victim is the one with the largest 1/f + d. Among experts used alike that
// is one of the layer just left, which is the last to come again: on a plain cycle the policy does
// what the best one, which knows the future, would do.

#include "cache/worth_model.h"

namespace sluice {

class DecayedFrequency final : public WorthModel {
 public:
  /// Half-lives in visits of a layer. The defaults are tuned on recorded traces of three models and
  /// are flat around their best: half or twice of either costs less than a hit in a hundred
  /// requests.
  struct Tuning {
    double fast_half_life = 1;
    double slow_half_life = 24;
    double fast_share = 0.3;  // of the estimate; the slow count makes the rest
  };
  /// Counts that never decay: least frequently used.
  static Tuning lfu();

  explicit DecayedFrequency(const CacheShape& shape);
  DecayedFrequency(const CacheShape& shape, const Tuning& tuning);

  std::string_view name() const override { return slow_decay_ < 1 ? "decayed" : "lfu"; }
  void visit(std::uint32_t layer) override;
  void touch(std::uint32_t layer, std::uint32_t index, float score) override;
  float worth(std::uint32_t layer, std::uint32_t index) const override;
  float distance_of(float worth, float ahead) const override { return 1 / worth + ahead; }

 private:
  // Visits, decayed as the uses are, so that uses / visits is a share from the first visit on.
  struct Visits {
    float fast = 0, slow = 0;
  };

  float fast_decay_, slow_decay_, fast_share_;
  std::vector<Visits> visits_;                // [layers]
  std::vector<float> fast_uses_, slow_uses_;  // [keys], decayed
};

}  // namespace sluice

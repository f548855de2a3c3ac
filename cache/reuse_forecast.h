#pragma once
// How soon an expert is wanted again: the probability that one of its layer's next four turns wants
// it, by a logistic regression that goes on learning while the model runs.
//
// Evidence: the expert's shares of its layer's turns, counted with four half-lives; for how long it
// was not wanted and how often it was; and how soon it came back to tokens that went the way that
// this one goes (RoutingPaths). The weights begin as what recorded traces taught; then, at every
// turn, a few of the layer's experts are remembered with their evidence, and four turns later it is
// known what the answer was. All layers and experts teach the same weights.
//
// After Z. Song et al., "Learning relaxed Belady for content distribution network caching", NSDI
// 2020, which learns the time to the next request from such evidence and evicts what comes late.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/online_logistic.h"
#include "cache/routing_paths.h"

namespace sluice {

/// Not thread-safe. After construction it allocates nothing.
class ReuseForecast {
 public:
  explicit ReuseForecast(const CacheShape& shape);

  /// A layer's turn begins.
  void visit(std::uint32_t layer);
  /// It wants the key of this number; another layer's is no part of the turn.
  void touch(std::uint32_t layer, std::uint32_t index);
  /// Of the layer's coming turns, the share that wants the key, as its last turn left it. Above 0.
  float rate(std::uint32_t index);
  /// The share of the votes that a key has for its layer's next turn, as of now.
  float share(std::uint32_t layer, std::uint32_t index);

 private:
  static constexpr std::uint32_t kHorizon = 4;           // turns
  static constexpr std::uint32_t kSamples = 8;           // experts remembered at a turn
  static constexpr std::size_t kClocks = 4;              // half-lives
  static constexpr std::size_t kFeatures = kClocks + 6;  // and one, age, uses, three of the paths
  using Learner = OnlineLogistic<kFeatures>;
  using Counts = std::array<float, kClocks>;

  struct Uses {
    Counts counts{};          // decayed
    std::uint32_t total = 0;  // since the beginning
    std::uint32_t last = 0;   // the turn that wanted it last
  };
  struct Sample {
    std::uint32_t index = 0;
    bool taken = false, used = false;
    Learner::Vector features{};
  };
  struct Layer {
    Counts turns{};             // decayed
    std::uint32_t count = 0;    // turns
    std::uint32_t sampled = 0;  // turns that samples were taken at
    std::uint32_t next = 0;     // key that is sampled next, from the layer's first on
  };

  void close_visit();
  Learner::Vector features(const Layer& layer, const Uses& uses,
                           const RoutingPaths::Returns& returns) const;
  void judge_samples(Layer& layer);
  void take_samples(Layer& layer);
  std::span<Sample> samples(std::uint32_t layer, std::uint32_t turn) {
    return std::span(samples_).subspan((layer * kHorizon + turn % kHorizon) * kSamples, kSamples);
  }

  CacheShape shape_;
  RoutingPaths paths_;
  Learner learner_;
  Counts decay_{};
  std::vector<Layer> layers_;
  std::vector<Uses> uses_;                      // [keys]
  std::vector<float> rates_;                    // [keys]
  std::vector<Sample> samples_;                 // [layers, kHorizon, kSamples]
  std::vector<std::uint32_t> wanted_;           // numbers of keys, of the visit
  std::vector<RoutingPaths::Returns> returns_;  // [keys of the widest layer]
  std::vector<float> logarithms_;               // of 1, 2, 3 …
  std::uint32_t current_ = 0;                   // layer of the visit
  bool open_ = false;                           // its touches are not counted yet
};

}  // namespace sluice

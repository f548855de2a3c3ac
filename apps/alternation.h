#pragma once
// Decoding in blocks of a few tokens, in turn with what is foretold read ahead and without, so that
// both meet the same moods of the machine: how fast the one is beside the other.
//
// Four blocks in a row are either with, without, without, with or the opposite, as a coin says:
// what changes steadily favours neither, and nor does routing that repeats itself. Each half is a
// pair.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "apps/bench_phase.h"
#include "apps/paired_ratio.h"

namespace sluice::apps {

class Alternation {
 public:
  /// Blocks of so many tokens; `seed` of the coin.
  Alternation(std::uint32_t tokens, std::uint64_t seed) : tokens_(tokens), coin_(seed) {}

  std::uint32_t tokens() const { return tokens_; }
  /// Whether experts are foretold in that block of a round. REQUIRES: called for 0, 1, 2 …
  bool foretells(std::uint32_t block);
  /// REQUIRES: blocks in their order; an even number of each round.
  void add(bool foretold, double seconds, const ExpertStatistics& experts);

  const BenchPhase& with() const { return phases_[true]; }
  const BenchPhase& without() const { return phases_[false]; }
  /// Speed with to speed without. REQUIRES: a pair was added.
  PairedRatio ratio() const;
  /// {"tokens", "with" and "without" as BenchPhase has them, "ratio": {"pairs", "mean", "low",
  /// "high"}, "blocks": [{"foretold", "seconds", "experts"}]}, blocks in their order.
  nlohmann::json json() const;

 private:
  struct Block {
    bool foretold = false;
    double seconds = 0;
    ExpertStatistics experts;
  };

  const std::uint32_t tokens_;
  std::mt19937_64 coin_;
  bool first_ = true;  // of the four blocks
  std::vector<Block> blocks_;
  BenchPhase phases_[2];
};

}  // namespace sluice::apps

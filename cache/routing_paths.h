#pragma once
// The ways that earlier tokens took through the layers, and what they say of where this one goes.
//
// A token that has gone along with an earlier one, layer by layer, goes on along with it: both are
// the same word, or the same kind of word. And what came after the earlier one is likely to come
// after this one. So the earlier tokens that are most alike vote: for the layers that are still to
// come in this token by what they chose there, for those that have had their turn by what their
// successors chose.
//
// Nothing is trained beforehand, and a run's first tokens, which have nobody to be alike, get no
// votes. A prefill's visits, which want what many tokens want, are no path.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/cache_policy.h"

namespace sluice {

/// Not thread-safe. After construction it allocates nothing.
class RoutingPaths {
 public:
  /// A visit that wants more experts than that is of many tokens, and no path's.
  static constexpr std::uint32_t kWidest = 16;

  /// Shares of the votes that say how soon an expert is wanted again: at its layer's next turn, at
  /// the second or third, at one of the fourth to eighth; each expert's first time counts.
  struct Returns {
    float next = 0, soon = 0, later = 0;
  };

  explicit RoutingPaths(const CacheShape& shape);

  /// A layer's turn begins.
  void visit(std::uint32_t layer);
  /// It wants the key of this number; another layer's is no part of the path.
  void touch(std::uint32_t layer, std::uint32_t index);
  /// The share of the votes that a key has for its layer's next turn: from 0 to below 1, and
  /// little where few are alike.
  float share(std::uint32_t layer, std::uint32_t index);
  /// What the votes say of every key of the layer whose turn has just been: [keys of the layer].
  void count_returns(std::uint32_t layer, std::span<Returns> returns);

 private:
  // Of 128, 256 and more remembered tokens, 256 saves a miss or two in a hundred over 128.
  static constexpr std::uint32_t kPaths = 512;
  static constexpr std::uint32_t kVoters = 16;  // 8 to 64 are as good
  // What a token went along with layers ago counts the less the longer ago: half after seven.
  static constexpr float kMemory = 0.9f;
  // Votes that nobody gets: flat from 4 to 64.
  static constexpr float kAbstentions = 16;

  struct Stretch {  // of a path: one layer
    std::uint32_t count = 0;
    std::uint16_t experts[kWidest] = {};  // numbers of keys, from the layer's first on
  };
  struct Voter {
    float weight = 0;
    std::uint32_t path = 0;
  };
  using PathSet = std::array<std::uint64_t, kPaths / 64>;  // a bit each

  Stretch& stretch(std::uint32_t layer, std::uint32_t path) {
    return stretches_[std::size_t{layer} * kPaths + path];
  }
  void close_visit();
  void begin_path();
  void choose_voters();
  /// What the voter says that the layer's next turn wants.
  const Stretch& choice(const Voter& voter, std::uint32_t layer) {
    return stretch(layer, layer > current_ ? voter.path : (voter.path + 1) % kPaths);
  }
  float votes_for(std::uint32_t layer, std::uint16_t expert);
  void count_votes(std::uint32_t layer);

  CacheShape shape_;
  std::vector<Stretch> stretches_;  // [layers, kPaths], a ring: a path's successor is the next one
  std::vector<PathSet> takers_;     // [keys] paths that have chosen it
  std::vector<float> likeness_;     // [kPaths] to the path under way
  std::uint32_t path_ = 0;          // the one under way
  std::uint32_t stored_ = 0;        // paths before it that are remembered
  std::uint32_t current_ = 0;       // layer of the visit
  bool open_ = false;               // what the visit wants is not compared with the paths yet
  std::uint32_t touches_ = 0;       // of the visit
  std::uint64_t visits_ = 0;        // so far

  std::vector<Voter> voters_;  // the least alike in front
  float scale_ = 0;            // makes votes a share
  std::uint64_t voters_chosen_ = 0;
  std::vector<std::uint64_t> asked_, counted_;  // [layers] at which visit
  std::vector<float> votes_;                    // [keys]
  std::vector<std::uint64_t> seen_;             // [experts of the widest layer] by which voter
  std::uint64_t voters_seen_ = 0;               // so far
};

}  // namespace sluice

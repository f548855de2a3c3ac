#pragma once
// Which resident expert goes when room is needed. A policy knows keys, sizes and how often layers
// have come round; it knows nothing of files, memory or devices, so the same object serves the
// cache and a replay of a routing trace.
//
// Correctness never depends on a policy: a bad choice costs a read.
//
// Not thread-safe: its owner calls it under one mutex.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice {

/// What a cache holds copies of: one plane group of one expert. 64 bits.
struct CacheKey {
  std::uint32_t layer =
      0;  // its turn in the cycle of sparse layers: 0, 1, … (not the model's numbering)
  std::uint16_t expert = 0;
  std::uint16_t plane_group = 0;
  bool operator==(const CacheKey&) const = default;
};

/// All keys that there can be, numbered from 0 without gaps, so that tables replace hash maps.
class CacheShape {
 public:
  /// `experts`: how many each layer has, layers in the order in which they come round.
  explicit CacheShape(const std::vector<std::uint32_t>& experts, std::uint32_t plane_groups = 1);

  std::uint32_t layers() const { return static_cast<std::uint32_t>(first_.size() - 1); }
  std::uint32_t size() const { return first_.back(); }
  std::uint32_t plane_groups() const { return plane_groups_; }
  std::uint32_t experts(std::uint32_t layer) const {
    return (first_[layer + 1] - first_[layer]) / plane_groups_;
  }
  /// The numbers of a layer's keys are [first(layer), first(layer + 1)).
  std::uint32_t first(std::uint32_t layer) const { return first_[layer]; }
  std::uint32_t index(CacheKey key) const {
    return first_[key.layer] + key.expert * plane_groups_ + key.plane_group;
  }
  CacheKey key(std::uint32_t index) const;
  /// The same experts in one part each: an expert's number is that of any of its keys over
  /// plane_groups().
  CacheShape whole_experts() const;

 private:
  std::vector<std::uint32_t> first_;  // [layers + 1]
  std::uint32_t plane_groups_;
};

class CachePolicy {
 public:
  using Evictable = std::function<bool(CacheKey)>;

  virtual ~CachePolicy() = default;
  virtual std::string_view name() const = 0;

  /// The clock: this layer's turn begins.
  virtual void visit(std::uint32_t layer) = 0;
  /// The router wants `key` in this visit, whether or not it is resident. `score`: its
  /// shares of the weights of the visit's rows, summed; 1 where unknown.
  virtual void touch(CacheKey key, float score) = 0;
  /// `key` has taken up `bytes` of the cache.
  virtual void admit(CacheKey key, std::uint64_t bytes) = 0;
  /// `key` has left the cache.
  virtual void forget(CacheKey key) = 0;
  /// A predictor expects, with this probability, that the next turn of `key`'s layer wants its
  /// expert, be it resident or not: until then it is no good victim. Policies that do not weigh it
  /// ignore it.
  virtual void expect(CacheKey, float) {}
  /// The resident key to give up first among those that `evictable` allows; none if it allows none.
  /// The key stays resident until `forget`.
  virtual std::optional<CacheKey> victim(const Evictable& evictable) = 0;
  /// How far away the policy takes the next use of a resident key to be, in a unit of its own: what
  /// a victim other than its first choice costs. Positive, and larger for earlier victims.
  virtual double distance(CacheKey key) const = 0;
};

/// The names that make_cache_policy knows, "auto" first.
std::vector<std::string> cache_policy_names();

/// "auto" is the one that measures best while it runs. kInvalidArgument lists the names.
Result<std::unique_ptr<CachePolicy>> make_cache_policy(std::string_view name,
                                                       const CacheShape& shape);

}  // namespace sluice

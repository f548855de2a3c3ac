#include "cache/trace_replay.h"

#include <utility>
#include <vector>

#include "cache/expert_cache.h"
#include "cache/extent_arena.h"

namespace sluice {
namespace {

/// The cache as a number of bytes: what ExpertCache would be if memory had no addresses.
class ByteRoom {
 public:
  ByteRoom(CacheShape shape, std::uint64_t capacity, std::unique_ptr<CachePolicy> policy)
      : shape_(std::move(shape)),
        policy_(std::move(policy)),
        free_(capacity),
        bytes_(shape_.size()),
        pinned_(shape_.size()),
        evictable_([this](CacheKey key) { return pinned_[shape_.index(key)] == 0; }) {}

  void visit(std::uint32_t layer, std::span<const CacheKey> wanted, std::span<const float> scores) {
    policy_->visit(layer);
    for (std::size_t i = 0; i < wanted.size(); ++i) policy_->touch(wanted[i], scores[i]);
  }
  bool pin(CacheKey key) {
    const std::uint32_t index = shape_.index(key);
    if (bytes_[index] == 0) return false;
    pinned_[index] = 1;
    return true;
  }
  void unpin(CacheKey key) { pinned_[shape_.index(key)] = 0; }
  bool load(CacheKey key, std::uint64_t bytes) {
    while (free_ < bytes) {
      const std::optional<CacheKey> victim = policy_->victim(evictable_);
      if (!victim) return false;
      policy_->forget(*victim);
      free_ += std::exchange(bytes_[shape_.index(*victim)], 0);
    }
    free_ -= bytes;
    const std::uint32_t index = shape_.index(key);
    bytes_[index] = bytes;
    pinned_[index] = 1;
    policy_->admit(key, bytes);
    return true;
  }

 private:
  CacheShape shape_;
  std::unique_ptr<CachePolicy> policy_;
  std::uint64_t free_;
  std::vector<std::uint64_t> bytes_;  // [keys]; 0: not resident
  std::vector<std::uint8_t> pinned_;  // [keys]
  CachePolicy::Evictable evictable_;
};

/// The engine's own book-keeping.
class ExtentRoom {
 public:
  ExtentRoom(CacheShape shape, std::uint64_t capacity, std::unique_ptr<CachePolicy> policy)
      : cache_(std::move(shape), capacity, std::move(policy)) {}

  void visit(std::uint32_t layer, std::span<const CacheKey> wanted, std::span<const float> scores) {
    cache_.visit(layer, wanted, scores);
  }
  bool pin(CacheKey key) { return cache_.pin(key).state == CopyState::kReady; }
  void unpin(CacheKey key) { cache_.unpin(key); }
  bool load(CacheKey key, std::uint64_t bytes) {
    if (!cache_.reserve(key, bytes)) return false;
    cache_.loaded(key);
    return true;
  }

 private:
  ExpertCache cache_;
};

/// Of every expert, what it takes up: [experts of all layers].
std::vector<std::uint64_t> sizes_in(const RoutingTrace& trace, ReplayRoom room) {
  if (room == ReplayRoom::kExtents && !trace.slot_bytes.empty()) return trace.slot_bytes;
  std::vector<std::uint64_t> sizes;
  for (std::size_t layer = 0; layer < trace.experts.size(); ++layer) {
    sizes.insert(sizes.end(), trace.experts[layer], trace.expert_bytes[layer]);
  }
  return sizes;
}

template <typename Room>
ReplayResult replay_in(Room& room, const RoutingTrace& trace, const ReplayOptions& options) {
  const CacheShape shape(trace.experts);
  const std::vector<std::uint64_t> sizes = sizes_in(trace, options.room);
  ReplayResult result;
  std::vector<CacheKey> wanted, pinned, missing;
  std::vector<float> scores;
  for (std::size_t at = 0; at < trace.events.size(); ++at) {
    if (options.cancelled != nullptr && options.cancelled->load(std::memory_order_relaxed)) break;
    const RoutingEvent& event = trace.events[at];
    wanted.clear();
    scores.clear();
    pinned.clear();
    missing.clear();
    for (const RoutedExpert& routed : trace.wanted(event)) {
      wanted.push_back({event.layer, routed.expert, 0});
      scores.push_back(routed.score);
    }
    room.visit(event.layer, wanted, scores);
    for (const CacheKey key : wanted) (room.pin(key) ? pinned : missing).push_back(key);
    if (at >= options.count_from) {
      result.requests += wanted.size();
      result.hits += pinned.size();
      if (event.decode) {
        result.decode_requests += wanted.size();
        result.decode_hits += pinned.size();
      }
      result.bytes_loaded += missing.size() * trace.expert_bytes[event.layer];
    }
    for (const CacheKey key : missing) {
      if (!room.load(key, sizes[shape.index(key)])) {
        // The store would compute what it holds and then go on.
        for (const CacheKey held : pinned) room.unpin(held);
        pinned.clear();
        if (!room.load(key, sizes[shape.index(key)])) continue;
      }
      pinned.push_back(key);
    }
    for (const CacheKey key : pinned) room.unpin(key);
  }
  return result;
}

}  // namespace

std::uint64_t full_capacity(const RoutingTrace& trace, ReplayRoom room) {
  std::uint64_t sum = 0;
  for (const std::uint64_t bytes : sizes_in(trace, room)) {
    sum += room == ReplayRoom::kExtents ? ExtentArena::rounded(bytes) : bytes;
  }
  return sum;
}

ReplayResult replay(const RoutingTrace& trace, std::unique_ptr<CachePolicy> policy,
                    const ReplayOptions& options) {
  CacheShape shape(trace.experts);
  if (options.room == ReplayRoom::kExtents) {
    ExtentRoom room(std::move(shape), options.capacity, std::move(policy));
    return replay_in(room, trace, options);
  }
  ByteRoom room(std::move(shape), options.capacity, std::move(policy));
  return replay_in(room, trace, options);
}

}  // namespace sluice

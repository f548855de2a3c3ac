#include "cache/expert_cache.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace sluice {
namespace {
// How near a victim that makes room at once must come to the first choice, in the distance of its
// next use, to be preferred. On a model with experts of two sizes this wins back nearly all that
// gaps cost (1.5 hits in 100); flat from 0.5 to 0.9.
constexpr double kFittingWorth = 0.75;
}  // namespace

// The life of a key's copy. Only what has no pin leaves, so Loading, which its loader pins, is
// never a victim.
//
//   state     event      next      extent     pins   version   policy
//   Empty     reserve    Loading   allocated  1      + 1       admit
//   Loading   pin        Loading              + 1
//   Loading   loaded     Ready
//   Loading   failed     Empty     released   0                forget
//   Ready     pin        Ready                + 1
//   Ready     discard    Empty     released   0                forget
//   Loading,
//   Ready     unpin      the same             - 1
//   Ready     eviction   Empty     released   0                forget      (only at 0 pins)

ExpertCache::ExpertCache(CacheShape shape, std::uint64_t capacity_bytes,
                         std::unique_ptr<CachePolicy> policy)
    : shape_(std::move(shape)),
      policy_(std::move(policy)),
      arena_(capacity_bytes),
      entries_(shape_.size()),
      evictable_([this](CacheKey key) {
        const Entry& candidate = entry(key);
        return candidate.state == CopyState::kReady && candidate.pins == 0;
      }) {}

void ExpertCache::visit(std::uint32_t layer, std::span<const CacheKey> wanted,
                        std::span<const float> scores) {
  const std::lock_guard lock(mutex_);
  policy_->visit(layer);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    policy_->touch(wanted[i], scores.empty() ? 1.0f : scores[i]);
  }
}

void ExpertCache::expect(CacheKey key, float probability) {
  const std::lock_guard lock(mutex_);
  policy_->expect(key, probability);
}

PinnedCopy ExpertCache::pin(CacheKey key) {
  const std::lock_guard lock(mutex_);
  Entry& pinned = entry(key);
  if (pinned.state == CopyState::kEmpty) return {};
  if (pinned.pins++ == 0) pinned_bytes_ += pinned.extent.bytes;
  return {pinned.state, {pinned.extent, pinned.version}};
}

std::optional<CachedCopy> ExpertCache::reserve(CacheKey key, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  return reserve(key, bytes, /*if_worth=*/false);
}

std::optional<CachedCopy> ExpertCache::reserve_if_worth(CacheKey key, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  return reserve(key, bytes, /*if_worth=*/true);
}

std::optional<CachedCopy> ExpertCache::reserve(CacheKey key, std::uint64_t bytes, bool if_worth) {
  // Not even an empty cache but for the pinned would do: keep what is there.
  if (ExtentArena::rounded(bytes) > arena_.capacity() - pinned_bytes_) return std::nullopt;
  std::optional<Extent> extent = arena_.allocate(bytes);
  while (!extent) {
    if (if_worth && first_to_leave(key, bytes) == key) return std::nullopt;
    const std::optional<CacheKey> victim = choose_victim(ExtentArena::rounded(bytes));
    if (!victim) return std::nullopt;
    evict(*victim);
    extent = arena_.allocate(bytes);
  }
  return take(key, *extent);
}

std::optional<CachedCopy> ExpertCache::reserve_free(CacheKey key, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const std::optional<Extent> extent = arena_.allocate(bytes);
  if (!extent) return std::nullopt;
  return take(key, *extent);
}

std::optional<CacheKey> ExpertCache::displaced_by(CacheKey key, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (ExtentArena::rounded(bytes) <= arena_.largest_free()) return std::nullopt;
  return first_to_leave(key, bytes);
}

/// If it had come in, and one had to leave.
std::optional<CacheKey> ExpertCache::first_to_leave(CacheKey key, std::uint64_t bytes) {
  policy_->admit(key, ExtentArena::rounded(bytes));
  const std::optional<CacheKey> victim =
      policy_->victim([this, key](CacheKey other) { return other == key || evictable_(other); });
  policy_->forget(key);
  return victim;
}

CachedCopy ExpertCache::take(CacheKey key, Extent extent) {
  Entry& reserved = entry(key);
  assert(reserved.state == CopyState::kEmpty);
  reserved.extent = extent;
  reserved.version += 1;
  reserved.pins = 1;
  reserved.state = CopyState::kLoading;
  pinned_bytes_ += extent.bytes;
  policy_->admit(key, extent.bytes);
  return {reserved.extent, reserved.version};
}

void ExpertCache::loaded(CacheKey key) {
  const std::lock_guard lock(mutex_);
  assert(entry(key).state == CopyState::kLoading);
  entry(key).state = CopyState::kReady;
}

void ExpertCache::failed(CacheKey key) {
  const std::lock_guard lock(mutex_);
  assert(entry(key).state == CopyState::kLoading);
  give_up(key);
}

void ExpertCache::discard(CacheKey key) {
  const std::lock_guard lock(mutex_);
  assert(entry(key).state == CopyState::kReady);
  give_up(key);
}

void ExpertCache::clear() {
  const std::lock_guard lock(mutex_);
  for (std::uint32_t index = 0; index < shape_.size(); ++index) {
    if (evictable_(shape_.key(index))) evict(shape_.key(index));
  }
}

void ExpertCache::give_up(CacheKey key) {
  Entry& gone = entry(key);
  if (gone.pins > 0) pinned_bytes_ -= gone.extent.bytes;
  gone.pins = 0;
  drop(key, gone);
}

void ExpertCache::unpin(CacheKey key) {
  const std::lock_guard lock(mutex_);
  Entry& unpinned = entry(key);
  assert(unpinned.pins > 0);
  if (--unpinned.pins == 0) pinned_bytes_ -= unpinned.extent.bytes;
}

/// The policy's choice; but where that does not make room for `bytes` and another one does that is
/// not much dearer, the other: with experts of several sizes, most of what the policy would give up
/// in vain stays, and fewer gaps are left.
std::optional<CacheKey> ExpertCache::choose_victim(std::uint64_t bytes) {
  const auto makes_room = [this, bytes](CacheKey key) {
    return arena_.released_run(entry(key).extent) >= bytes;
  };
  const std::optional<CacheKey> first = policy_->victim(evictable_);
  if (!first || makes_room(*first)) return first;
  const std::optional<CacheKey> fitting =
      policy_->victim([&](CacheKey key) { return evictable_(key) && makes_room(key); });
  if (fitting && policy_->distance(*fitting) >= kFittingWorth * policy_->distance(*first)) {
    return fitting;
  }
  return first;
}

void ExpertCache::evict(CacheKey victim) {
  Entry& gone = entry(victim);
  assert(evictable_(victim));
  counters_.evictions += 1;
  counters_.evicted_bytes += gone.extent.bytes;
  drop(victim, gone);
}

void ExpertCache::drop(CacheKey key, Entry& gone) {
  arena_.release(gone.extent);
  gone.extent = {};
  gone.state = CopyState::kEmpty;
  policy_->forget(key);
}

CopyState ExpertCache::state(CacheKey key) const {
  const std::lock_guard lock(mutex_);
  return entry(key).state;
}

std::vector<CacheKey> ExpertCache::residents() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<double, std::uint32_t>> order;
  for (std::uint32_t index = 0; index < shape_.size(); ++index) {
    if (entries_[index].state != CopyState::kReady) continue;
    order.emplace_back(policy_->distance(shape_.key(index)), index);
  }
  std::sort(order.begin(), order.end());
  std::vector<CacheKey> keys;
  for (const auto& [distance, index] : order) keys.push_back(shape_.key(index));
  return keys;
}

std::uint64_t ExpertCache::capacity() const { return arena_.capacity(); }

std::uint64_t ExpertCache::free_bytes() const {
  const std::lock_guard lock(mutex_);
  return arena_.free_bytes();
}

std::uint64_t ExpertCache::pinned_bytes() const {
  const std::lock_guard lock(mutex_);
  return pinned_bytes_;
}

CacheCounters ExpertCache::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

}  // namespace sluice

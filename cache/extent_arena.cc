#include "cache/extent_arena.h"

#include <cassert>
#include <iterator>

namespace sluice {

ExtentArena::ExtentArena(std::uint64_t capacity)
    : capacity_(capacity / kGranularity * kGranularity) {
  if (capacity_ > 0) insert({0, capacity_});
}

void ExtentArena::insert(Extent extent) {
  by_offset_.emplace(extent.offset, extent.bytes);
  by_size_.emplace(extent.bytes, extent.offset);
  free_bytes_ += extent.bytes;
}

void ExtentArena::erase(Extent extent) {
  by_offset_.erase(extent.offset);
  by_size_.erase({extent.bytes, extent.offset});
  free_bytes_ -= extent.bytes;
}

std::optional<Extent> ExtentArena::allocate(std::uint64_t bytes) {
  assert(bytes > 0);
  if (bytes > free_bytes_) return std::nullopt;  // also keeps rounding from overflowing
  bytes = rounded(bytes);
  const auto fit = by_size_.lower_bound({bytes, 0});
  if (fit == by_size_.end()) return std::nullopt;
  const Extent run{fit->second, fit->first};
  erase(run);
  if (run.bytes > bytes) insert({run.offset + bytes, run.bytes - bytes});
  return Extent{run.offset, bytes};
}

std::uint64_t ExtentArena::released_run(Extent extent) const {
  std::uint64_t run = extent.bytes;
  const auto next = by_offset_.lower_bound(extent.offset);
  if (next != by_offset_.end() && next->first == extent.offset + extent.bytes) run += next->second;
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == extent.offset) run += previous->second;
  }
  return run;
}

void ExtentArena::release(Extent extent) {
  const auto next = by_offset_.lower_bound(extent.offset);
  assert(next == by_offset_.end() || extent.offset + extent.bytes <= next->first);
  const bool joins_next = next != by_offset_.end() && next->first == extent.offset + extent.bytes;
  const Extent after = joins_next ? Extent{next->first, next->second} : Extent{};
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    const Extent before{previous->first, previous->second};
    assert(before.offset + before.bytes <= extent.offset);
    if (before.offset + before.bytes == extent.offset) {
      erase(before);
      extent = {before.offset, before.bytes + extent.bytes};
    }
  }
  if (joins_next) {
    erase(after);
    extent.bytes += after.bytes;
  }
  insert(extent);
}

}  // namespace sluice

#pragma once
// Lists through the keys of a cache, oldest first, for policies that go by order. A key is in one
// of them or in none; moving it is O(1) and allocates nothing.

#include <cstdint>
#include <optional>
#include <vector>

#include "cache/cache_policy.h"

namespace sluice {

class KeyRings {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  KeyRings(std::uint32_t keys, std::uint32_t rings)
      : keys_(keys), links_(keys + rings), sizes_(rings) {
    for (std::uint32_t index = 0; index < keys; ++index) links_[index] = {index, index, kNone};
    for (std::uint32_t ring = 0; ring < rings; ++ring) {
      links_[keys + ring] = {keys + ring, keys + ring, ring};
    }
  }

  /// The ring that `index` is in, or kNone.
  std::uint32_t ring_of(std::uint32_t index) const { return links_[index].ring; }
  std::uint32_t size(std::uint32_t ring) const { return sizes_[ring]; }
  /// kNone where there is none.
  std::uint32_t oldest(std::uint32_t ring) const { return newer(keys_ + ring); }
  std::uint32_t newer(std::uint32_t index) const {
    const std::uint32_t next = links_[index].newer;
    return next < keys_ ? next : kNone;
  }

  /// The oldest of a ring that may go; `shape` says which key an index is.
  std::optional<CacheKey> oldest(std::uint32_t ring, const CacheShape& shape,
                                 const CachePolicy::Evictable& evictable) const {
    for (std::uint32_t index = oldest(ring); index != kNone; index = newer(index)) {
      const CacheKey key = shape.key(index);
      if (evictable(key)) return key;
    }
    return std::nullopt;
  }

  void remove(std::uint32_t index) {
    Link& link = links_[index];
    if (link.ring == kNone) return;
    links_[link.older].newer = link.newer;
    links_[link.newer].older = link.older;
    sizes_[link.ring] -= 1;
    link = {index, index, kNone};
  }
  /// Out of where it is, to the newest end of `ring`.
  void append(std::uint32_t ring, std::uint32_t index) {
    remove(index);
    const std::uint32_t end = keys_ + ring, newest = links_[end].older;
    links_[index] = {newest, end, ring};
    links_[newest].newer = index;
    links_[end].older = index;
    sizes_[ring] += 1;
  }

 private:
  struct Link {
    std::uint32_t older = 0, newer = 0, ring = kNone;
  };
  std::uint32_t keys_;
  std::vector<Link> links_;           // [keys], then each ring's end, which closes it
  std::vector<std::uint32_t> sizes_;  // [rings]
};

}  // namespace sluice

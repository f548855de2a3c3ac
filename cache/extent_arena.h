#pragma once
// Hands out runs of varying size from [0, capacity): best fit, and what is given back grows
// together with its free neighbours. Offsets only: what lies there is not its business.

#include <cstdint>
#include <map>
#include <memory_resource>
#include <optional>
#include <set>
#include <utility>

namespace sluice {

/// A run of a cache's memory, in bytes from its start.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  bool operator==(const Extent&) const = default;
};

/// Not thread-safe. O(log n) each; memory for bookkeeping is recycled, so a steady state allocates
/// nothing.
class ExtentArena {
 public:
  static constexpr std::uint64_t kGranularity = 4096;  // offsets and sizes are multiples of it

  /// What an extent of `bytes` takes up.
  static constexpr std::uint64_t rounded(std::uint64_t bytes) {
    return (bytes + kGranularity - 1) / kGranularity * kGranularity;
  }

  /// A capacity that is no multiple of the granularity is rounded down.
  explicit ExtentArena(std::uint64_t capacity);
  ExtentArena(const ExtentArena&) = delete;
  ExtentArena& operator=(const ExtentArena&) = delete;

  /// The smallest free run that holds `bytes` (the lowest of several), rounded up to the
  /// granularity; none if there is none. REQUIRES: bytes > 0.
  std::optional<Extent> allocate(std::uint64_t bytes);
  /// REQUIRES: `extent` came from `allocate` and was not released since.
  void release(Extent extent);

  /// The free run that releasing `extent` would make.
  std::uint64_t released_run(Extent extent) const;

  std::uint64_t capacity() const { return capacity_; }
  std::uint64_t free_bytes() const { return free_bytes_; }
  std::uint64_t largest_free() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }

 private:
  void insert(Extent extent);
  void erase(Extent extent);

  std::uint64_t capacity_;
  std::uint64_t free_bytes_ = 0;
  std::pmr::unsynchronized_pool_resource nodes_;
  std::pmr::map<std::uint64_t, std::uint64_t> by_offset_{&nodes_};  // free: offset → bytes
  std::pmr::set<std::pair<std::uint64_t, std::uint64_t>> by_size_{
      &nodes_};  // free: (bytes, offset)
};

}  // namespace sluice

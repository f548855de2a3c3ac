#pragma once
// Whole ranges of files into plain memory at disk speed: what loads the dense weights.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/status.h"
#include "io/block_reader.h"

namespace sluice {

/// Bytes [offset, offset + out.size()) of a file, and where they go; nothing need be aligned.
struct RangeRead {
  FileIndex file = 0;
  std::uint64_t offset = 0;
  std::span<std::byte> out;
};

/// Reads all ranges, several large blocks at a time. Where `out.data()` and `offset` agree modulo
/// the file's alignment, whole blocks land in place; else they come through bounce memory of at
/// most kBounceBytes and are copied. REQUIRES: nothing else is under way in this reader, for its
/// completions would be taken for ours. Errors: the first read's that failed, kCancelled once
/// `cancel` is true (looked at before every block; nothing is under way any more when this
/// returns), or kBudget. `arrived`, if it is there, is told how many bytes came.
Status read_ranges(BlockReader& reader, std::span<const RangeRead> ranges,
                   const std::atomic<bool>* cancel = nullptr,
                   const std::function<void(std::size_t bytes)>& arrived = {});

/// The same for one range.
Status read_range(BlockReader& reader, FileIndex file, std::uint64_t offset,
                  std::span<std::byte> out, const std::atomic<bool>* cancel = nullptr);

inline constexpr std::size_t kBounceBytes = std::size_t{8} << 20;

}  // namespace sluice

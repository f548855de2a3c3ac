#pragma once
// Which blocks of a store that an earlier packer has left are still what it wrote: a journal knows
// what reached the disk, and not what became of it there.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/status.h"
#include "formats/store_format.h"
#include "store/pack_target.h"

namespace sluice {

/// How many of the first blocks are right: they fit their `checksums`, and what padding there is
/// between them is zeros. Reads each of them once, through `buffer`. `progress`: the offset up to
/// which they are right; may be empty. kIo; kCancelled.
Result<std::size_t> count_right_blocks(const StorePlan& plan, const PackFile& file,
                                       std::span<const std::uint64_t> checksums,
                                       std::span<std::byte> buffer,
                                       const std::function<void(std::uint64_t right)>& progress,
                                       const std::atomic<bool>* cancel);

}  // namespace sluice

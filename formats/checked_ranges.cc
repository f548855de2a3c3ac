#include "engine/checked_ranges.h"

#include <algorithm>
#include <tuple>

#include "base/cancellation.h"
#include "formats/checksum.h"
#include "formats/store_format.h"
#include "io/read_range.h"

namespace sluice {
namespace {

FileRange range_of(const CheckedBlock& block) { return {block.file, block.offset, block.bytes}; }

}  // namespace

bool CheckedRanges::holds(const FileRange& range) const {
  return !bytes_.empty() && range.file == here_.file && range.offset >= here_.offset &&
         range.offset + range.bytes <= here_.offset + here_.bytes;
}

std::span<const std::byte> CheckedRanges::held(const FileRange& range) const {
  return std::span(bytes_).subspan(range.offset - here_.offset, range.bytes);
}

Result<std::span<const std::byte>> CheckedRanges::read(const FileRange& range) {
  if (holds(range)) return held(range);
  const CheckedBlock* const block = checkpoint_.block_of(range);
  SLUICE_TRY(fill(block == nullptr ? range : range_of(*block)));
  if (block != nullptr && checksum(bytes_) != block->checksum) {
    bytes_.clear();
    return checkpoint_.damaged(*block);
  }
  return held(range);
}

Status CheckedRanges::fill(const FileRange& range) {
  here_ = range;
  bytes_.resize(range.bytes);
  Status status = read_range(reader_, files_[range.file], range.offset, bytes_, cancel_);
  if (!status.ok()) bytes_.clear();
  return status;
}

Status CheckedRanges::check(std::vector<RangeInMemory> ranges) {
  std::ranges::sort(ranges, {}, [](const RangeInMemory& place) {
    return std::tuple(place.range.file, place.range.offset);
  });
  for (std::size_t first = 0, last = 0; first < ranges.size(); first = last) {
    const CheckedBlock* const block = checkpoint_.block_of(ranges[first].range);
    last = first + 1;
    if (block == nullptr) continue;
    SLUICE_TRY(check_cancelled(cancel_));
    while (last < ranges.size() && checkpoint_.block_of(ranges[last].range) == block) ++last;
    switch (look_at(*block, std::span(ranges).subspan(first, last - first))) {
      case Finding::kSound:
        break;
      case Finding::kDamaged:
        return checkpoint_.damaged(*block);
      case Finding::kNotAllThere:
        SLUICE_TRY(read(range_of(*block)));
        break;
    }
  }
  return {};
}

CheckedRanges::Finding CheckedRanges::look_at(const CheckedBlock& block,
                                              std::span<const RangeInMemory> ranges) {
  RunningChecksum sum;
  std::uint64_t at = block.offset;
  for (const auto& [range, bytes] : ranges) {
    const std::uint64_t end = range.offset + range.bytes;
    if (end <= at) continue;
    if (range.offset >= at + kStoreRangeAlignment) return Finding::kNotAllThere;
    if (range.offset > at) {
      sum.add_zeros(range.offset - at);
      at = range.offset;
    }
    const std::uint64_t known = at - range.offset;
    sum.add({bytes + known, range.bytes - known});
    at = end;
  }
  if (at != block.offset + block.bytes) return Finding::kNotAllThere;
  return sum.value() == block.checksum ? Finding::kSound : Finding::kDamaged;
}

}  // namespace sluice

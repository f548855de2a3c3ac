#include "experts/slot_layout.h"

#include <algorithm>
#include <tuple>

namespace sluice {
namespace {

constexpr std::size_t kDataAlignment = 64;  // of a slice in a file without alignment: a cache line

std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) { return value / unit * unit; }
std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return round_down(value + unit - 1, unit);
}

}  // namespace

SlotLayout layout_slot(const ExpertRanges& ranges, const std::array<std::size_t, 6>& alignments) {
  std::array<std::size_t, 6> order = {0, 1, 2, 3, 4, 5};
  std::sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    return std::tie(ranges[left].file, ranges[left].offset) <
           std::tie(ranges[right].file, ranges[right].offset);
  });
  SlotLayout layout;
  for (const std::size_t slice : order) {
    const FileRange& range = ranges[slice];
    if (range.bytes == 0) continue;
    const std::uint64_t begin = round_down(range.offset, alignments[slice]);
    const std::uint64_t slice_end = range.offset + range.bytes;
    const std::uint64_t end = round_up(slice_end, alignments[slice]);
    SlotRead* read = layout.read_count > 0 ? &layout.reads[layout.read_count - 1] : nullptr;
    if (read == nullptr || read->file != range.file ||
        begin >= read->offset + read->bytes + kDataAlignment) {
      const std::uint64_t unit = std::max(alignments[slice], kDataAlignment);
      read = &layout.reads[layout.read_count++];
      *read = {range.file, begin, 0, 0, round_up(layout.bytes, unit)};
    }
    read->bytes = std::max<std::uint64_t>(read->bytes, end - read->offset);
    read->needed = std::max<std::uint64_t>(read->needed, slice_end - read->offset);
    layout.slices[slice] = read->slot_offset + (range.offset - read->offset);
    layout.bytes = read->slot_offset + read->bytes;
  }
  return layout;
}

std::size_t slot_bytes_bound(const ExpertRanges& ranges) {
  // Coarser sectors usually mean a larger slot, but they also merge reads.
  std::size_t most = 0;
  for (const std::size_t alignment : {std::size_t{1}, std::size_t{512}, kMaxAlignment}) {
    std::array<std::size_t, 6> alignments;
    alignments.fill(alignment);
    most = std::max(most, layout_slot(ranges, alignments).bytes);
  }
  return most;
}

}  // namespace sluice

#include "io/read_range.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/cancellation.h"

namespace sluice {
namespace {

constexpr std::size_t kSlots = 16;  // blocks in flight
constexpr std::size_t kSlotBytes = kBounceBytes / kSlots;
constexpr std::size_t kInPlaceBytes = std::size_t{1} << 20;  // needs no bounce memory

/// One block on its way: `bytes` at `offset` go to `out`, from `bounce + skip` unless they land in
/// place.
struct Block {
  ReadRequest request;
  std::byte* out = nullptr;
  std::size_t skip = 0;
  std::size_t bytes = 0;
  bool in_place = false;
};

/// Cuts the ranges into blocks, one after the other.
class BlockCutter {
 public:
  BlockCutter(const BlockReader& reader, std::span<const RangeRead> ranges)
      : reader_(reader), ranges_(ranges) {}

  /// False when all is cut. The bounce memory holds kSlotBytes and is page-aligned.
  bool next(std::byte* bounce, Block* block) {
    while (!ranges_.empty() && taken_ == ranges_.front().out.size()) {
      ranges_ = ranges_.subspan(1);
      taken_ = 0;
    }
    if (ranges_.empty()) return false;
    const RangeRead& range = ranges_.front();
    const std::size_t alignment = reader_.alignment(range.file);
    const std::uint64_t offset = range.offset + taken_;
    const std::size_t left = range.out.size() - taken_;
    std::byte* const out = range.out.data() + taken_;

    block->request = ReadRequest{};
    block->request.file = range.file;
    block->out = out;
    block->skip = static_cast<std::size_t>(offset % alignment);
    block->in_place = block->skip == 0 && left >= alignment &&
                      reinterpret_cast<std::uintptr_t>(out) % alignment == 0;
    block->request.offset = offset - block->skip;
    if (block->in_place) {
      block->bytes = std::min(kInPlaceBytes, left / alignment * alignment);
      block->request.bytes = block->bytes;
      block->request.destination = out;
    } else {
      block->bytes = std::min(kSlotBytes - block->skip, left);
      // If only the head keeps the rest from landing in place, bounce no more than the head.
      const auto phase = reinterpret_cast<std::uintptr_t>(out) % alignment;
      if (phase == block->skip) block->bytes = std::min(block->bytes, alignment - block->skip);
      const std::size_t end = block->skip + block->bytes;
      block->request.bytes = (end + alignment - 1) / alignment * alignment;
      block->request.destination = bounce;
    }
    block->request.needed = block->skip + block->bytes;
    taken_ += block->bytes;
    return true;
  }

 private:
  const BlockReader& reader_;
  std::span<const RangeRead> ranges_;
  std::size_t taken_ = 0;  // bytes of the front range
};

}  // namespace

Status read_ranges(BlockReader& reader, std::span<const RangeRead> ranges,
                   const std::atomic<bool>* cancel,
                   const std::function<void(std::size_t bytes)>& arrived) {
  // Pages of the bounce memory count only once touched: reads that land in place cost none.
  SLUICE_ASSIGN(AlignedBuffer bounce, AlignedBuffer::allocate(kBounceBytes));
  BlockCutter cutter(reader, ranges);
  std::array<Block, kSlots> blocks;
  std::array<ReadRequest, kSlots> requests;
  std::array<ReadCompletion, kSlots> completions;
  std::array<std::size_t, kSlots> free_slots = {};
  std::size_t free_count = 0;
  while (free_count < kSlots) {
    free_slots[free_count] = free_count;
    ++free_count;
  }
  Status status;
  for (;;) {
    std::size_t count = 0;
    if (status.ok()) status = check_cancelled(cancel);
    while (status.ok() && free_count > 0) {
      const std::size_t slot = free_slots[free_count - 1];
      if (!cutter.next(bounce.data() + slot * kSlotBytes, &blocks[slot])) break;
      blocks[slot].request.tag = slot;
      requests[count++] = blocks[slot].request;
      --free_count;
    }
    if (count > 0) {
      if (Status refused = reader.submit(std::span(requests).first(count)); !refused.ok()) {
        status = std::move(refused);
        for (std::size_t i = 0; i < count; ++i) free_slots[free_count++] = requests[i].tag;
      }
    }
    if (free_count == kSlots) return status;

    const std::size_t done = reader.reap(completions, true);
    if (done == 0) return Status(ErrorCode::kInternal, "read_ranges: the reader lost a read");
    for (ReadCompletion& completion : std::span(completions).first(done)) {
      const auto slot = static_cast<std::size_t>(completion.tag);
      const Block& block = blocks[slot];
      if (!completion.status.ok()) {
        if (status.ok()) status = std::move(completion.status);
      } else if (!block.in_place) {
        std::memcpy(block.out, block.request.destination + block.skip, block.bytes);
      }
      if (arrived) arrived(block.bytes);
      free_slots[free_count++] = slot;
    }
  }
}

Status read_range(BlockReader& reader, FileIndex file, std::uint64_t offset,
                  std::span<std::byte> out, const std::atomic<bool>* cancel) {
  const RangeRead range = {file, offset, out};
  return read_ranges(reader, std::span(&range, 1), cancel);
}

}  // namespace sluice

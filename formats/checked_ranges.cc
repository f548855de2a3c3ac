#include "formats/checked_ranges.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/cancellation.h"
#include "formats/expert_tensors.h"
#include "formats/store_format.h"
#include "io/read_range.h"

namespace sluice {
namespace {

FileRange range_of(const CheckedBlock& block) { return {block.file, block.offset, block.bytes}; }

std::string expert_text(std::uint32_t layer, std::uint64_t expert) {
  return "layer " + std::to_string(layer) + ", expert " + std::to_string(expert);
}

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
    return damaged(*block);
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

Status CheckedRanges::check(std::vector<RangeInMemory> ranges, bool more) {
  std::ranges::sort(ranges, {}, [](const RangeInMemory& place) {
    return std::tuple(place.range.file, place.range.offset);
  });
  for (const RangeInMemory& place : ranges) {
    const CheckedBlock* const block = checkpoint_.block_of(place.range);
    if (block == nullptr || block == sound_) continue;
    if (block != open_) {
      SLUICE_TRY(read_again());
      SLUICE_TRY(check_cancelled(cancel_));
      open_ = block;
      at_ = block->offset;
      sum_.restart();
    }
    SLUICE_TRY(add(place));
  }
  return more ? Status() : read_again();
}

/// What follows of the open block; zeros lie between its ranges.
Status CheckedRanges::add(const RangeInMemory& place) {
  const auto& [range, bytes] = place;
  const std::uint64_t end = range.offset + range.bytes;
  if (end <= at_) return {};
  if (range.offset >= at_ + kStoreRangeAlignment) return read_again();
  if (range.offset > at_) {
    sum_.add_zeros(range.offset - at_);
    at_ = range.offset;
  }
  const std::uint64_t known = at_ - range.offset;
  sum_.add({bytes + known, range.bytes - known});
  at_ = end;
  return end == open_->offset + open_->bytes ? settle() : Status();
}

/// Nobody has all of the open block.
Status CheckedRanges::read_again() {
  if (open_ == nullptr) return {};
  sum_.restart();
  const std::uint64_t end = open_->offset + open_->bytes;
  std::vector<std::byte> piece(std::min<std::uint64_t>(open_->bytes, kBounceBytes));
  for (at_ = open_->offset; at_ < end;) {
    const auto some = std::span(piece).first(std::min<std::uint64_t>(end - at_, piece.size()));
    SLUICE_TRY(read_range(reader_, files_[open_->file], at_, some, cancel_));
    sum_.add(some);
    at_ += some.size();
  }
  return settle();
}

Status CheckedRanges::settle() {
  const CheckedBlock& block = *std::exchange(open_, nullptr);
  if (sum_.value() != block.checksum) return damaged(block);
  sound_ = &block;
  return {};
}

/// Whose the block is, first.
Status CheckedRanges::damaged(const CheckedBlock& block) const {
  const Status status = checkpoint_.damaged(block);
  const auto inside = [&](const FileRange& range) {
    return range.bytes > 0 && checkpoint_.block_of(range) == &block;
  };
  for (const auto& [name, tensor] : checkpoint_.tensors) {
    const auto layer = layer_of_experts(name);
    const auto range = std::ranges::find_if(tensor.ranges, inside);
    if (range != tensor.ranges.end()) {
      if (!layer || tensor.ranges.size() != tensor.shape.front()) {
        return status.with_context("tensor '" + name + "'");
      }
      return status.with_context(expert_text(*layer, range - tensor.ranges.begin()));
    }
    if (!layer || !tensor.nested) continue;
    const auto group = std::ranges::find_if(tensor.nested->groups, inside);
    if (group == tensor.nested->groups.end()) continue;
    const std::size_t groups = tensor.nested->form->group_count;
    const auto index = static_cast<std::size_t>(group - tensor.nested->groups.begin());
    return status.with_context(expert_text(*layer, index / groups) + ", group " +
                               std::to_string(index % groups) + " of its planes");
  }
  return status;
}

}  // namespace sluice

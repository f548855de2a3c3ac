#include "store/plan_reader.h"

#include <algorithm>

namespace sluice {
namespace {

std::uint64_t end_of(const StoreCopy& copy) { return copy.to + copy.from.bytes; }

}  // namespace

Result<PlanReader> PlanReader::open(const StorePlan& plan, BlockReader& reader) {
  PlanReader opened(plan, reader);
  for (const std::string& path : plan.files) {
    SLUICE_ASSIGN(const FileIndex file, reader.open(path));
    opened.files_.push_back(file);
  }
  return opened;
}

Status PlanReader::read(std::uint64_t offset, std::span<std::byte> out,
                        const std::atomic<bool>* cancel) {
  const std::uint64_t end = offset + out.size();
  std::uint64_t filled = offset;
  const auto part = [&](std::uint64_t first, std::uint64_t last) {
    return out.subspan(static_cast<std::size_t>(first - offset),
                       static_cast<std::size_t>(last - first));
  };
  ranges_.clear();
  const auto is_before = [](const StoreCopy& copy, std::uint64_t at) { return end_of(copy) <= at; };
  for (auto copy = std::lower_bound(plan_->copies.begin(), plan_->copies.end(), offset, is_before);
       copy != plan_->copies.end() && copy->to < end; ++copy) {
    const std::uint64_t first = std::max(copy->to, offset);
    const std::uint64_t last = std::min(end_of(*copy), end);
    std::ranges::fill(part(filled, first), std::byte{0});
    ranges_.push_back({.file = files_[copy->from.file],
                       .offset = copy->from.offset + (first - copy->to),
                       .out = part(first, last)});
    filled = last;
  }
  std::ranges::fill(part(filled, end), std::byte{0});
  return read_ranges(*reader_, ranges_, cancel);
}

}  // namespace sluice

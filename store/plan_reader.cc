#include "store/plan_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

std::uint64_t copy_end(const StoreCopy& copy) { return copy.to + copy.from.bytes; }

}  // namespace

Result<PlanReader> PlanReader::open(const StorePlan& plan, BlockReader& reader,
                                    const ImportanceMatrix* importance) {
  PlanReader opened(plan, reader, importance);
  for (const std::string& path : plan.files) {
    SLUICE_ASSIGN(const FileIndex file, reader.open(path));
    opened.files_.push_back(file);
  }
  return opened;
}

Status PlanReader::read(std::uint64_t offset, std::span<std::byte> out,
                        const std::atomic<bool>* cancel) {
  SLUICE_TRY(read_copies(offset, out, cancel));
  return make_planes(offset, out, cancel);
}

/// Planes of experts that lie in it, or partly: those are kept for the next call, which goes on.
Status PlanReader::make_planes(std::uint64_t offset, std::span<std::byte> out,
                               const std::atomic<bool>* cancel) {
  const std::vector<StoreNestedExpert>& experts = plan_->nested;
  const std::uint64_t end = offset + out.size();
  const auto begin = std::ranges::partition_point(
      experts, [&](const auto& expert) { return end_of(expert) <= offset; });
  const auto last = std::find_if(begin, experts.end(),
                                 [&](const StoreNestedExpert& expert) { return expert.to >= end; });
  const auto first_index = static_cast<std::size_t>(begin - experts.begin());
  const auto end_index = static_cast<std::size_t>(last - experts.begin());
  std::erase_if(made_, [&](const Made& made) {
    return made.expert < first_index || made.expert >= end_index;
  });
  // What is there is the first ones.
  std::size_t next = first_index;
  for (const Made& made : made_) {
    if (made.expert == next) ++next;
  }
  made_.resize(next - first_index);
  const std::size_t there = made_.size();
  for (; next < end_index; ++next) {
    made_.push_back({next, std::vector<std::byte>(experts[next].bytes)});
  }
  if (made_.size() > there) {
    std::vector<std::span<std::byte>> wanted;
    for (std::size_t i = there; i < made_.size(); ++i) wanted.emplace_back(made_[i].bytes);
    if (!maker_) maker_.emplace(*plan_, *reader_, files_, importance_);
    SLUICE_TRY(maker_->make(first_index + there, wanted, cancel));
  }
  for (const Made& made : made_) {
    const StoreNestedExpert& expert = experts[made.expert];
    const std::uint64_t from = std::max(expert.to, offset), to = std::min(end_of(expert), end);
    std::memcpy(out.data() + (from - offset), made.bytes.data() + (from - expert.to), to - from);
  }
  return {};
}

Status PlanReader::read_copies(std::uint64_t offset, std::span<std::byte> out,
                               const std::atomic<bool>* cancel) {
  const std::uint64_t end = offset + out.size();
  std::uint64_t filled = offset;
  const auto part = [&](std::uint64_t first, std::uint64_t last) {
    return out.subspan(static_cast<std::size_t>(first - offset),
                       static_cast<std::size_t>(last - first));
  };
  ranges_.clear();
  std::vector<RangeInMemory> copied;
  const auto is_before = [](const StoreCopy& copy, std::uint64_t at) {
    return copy_end(copy) <= at;
  };
  for (auto copy = std::lower_bound(plan_->copies.begin(), plan_->copies.end(), offset, is_before);
       copy != plan_->copies.end() && copy->to < end; ++copy) {
    const std::uint64_t first = std::max(copy->to, offset);
    const std::uint64_t last = std::min(copy_end(*copy), end);
    std::ranges::fill(part(filled, first), std::byte{0});
    const FileRange from{copy->from.file, copy->from.offset + (first - copy->to), last - first};
    ranges_.push_back({files_[from.file], from.offset, part(first, last)});
    copied.push_back({from, ranges_.back().out.data()});
    filled = last;
  }
  std::ranges::fill(part(filled, end), std::byte{0});
  SLUICE_TRY(read_ranges(*reader_, ranges_, cancel));
  if (!check_) check_.emplace(plan_->checked, *reader_, files_, cancel);
  return check_->check(std::move(copied), /*more=*/end < plan_->table_offset);
}

}  // namespace sluice

#include "formats/tensor_collector.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace sluice {
namespace {

Status corrupt(std::string message) { return Status(ErrorCode::kCorrupt, std::move(message)); }

}  // namespace

Result<std::uint64_t> checked_tensor_bytes(const TensorFormat& format,
                                           const std::vector<std::uint64_t>& shape) {
  // Far above any disk, and low enough that no product or sum of ours overflows.
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max() >> 8;
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : shape) {
    if (extent == 0) return corrupt("a dimension is 0");
    if (elements > kMost / extent) return corrupt("the product of the dimensions overflows");
    elements *= extent;
  }
  const std::uint64_t columns = shape.empty() ? 1 : shape.back();
  if (columns % format.block_elements != 0) {
    return corrupt("rows of " + std::to_string(columns) + " elements are not whole blocks of " +
                   std::to_string(format.block_elements) + ", as " + std::string(format.name) +
                   " needs");
  }
  const std::uint64_t blocks = elements / format.block_elements;
  if (blocks > kMost / format.block_bytes) return corrupt("the size in bytes overflows");
  return blocks * format.block_bytes;
}

Status TensorCollector::add(TensorInfo tensor) {
  std::string name = tensor.name;
  if (unreadable_.contains(name) || !tensors_.try_emplace(name, std::move(tensor)).second) {
    return corrupt("tensor '" + name + "' appears twice");
  }
  return {};
}

Status TensorCollector::add_expert(const std::string& stacked_name, std::uint64_t expert,
                                   TensorInfo part) {
  Stack& stack = stacks_[stacked_name];
  if (stack.parts.empty()) {
    stack.parts.push_back({expert, part.ranges.front()});
    stack.first = std::move(part);
    return {};
  }
  if (part.type != stack.first.type || part.shape != stack.first.shape) {
    return corrupt("tensor '" + part.name + "' has another type or shape than '" +
                   stack.first.name + "': experts of one layer must be alike");
  }
  stack.parts.push_back({expert, part.ranges.front()});
  return {};
}

void TensorCollector::add_unreadable(const std::string& name, std::string_view format) {
  unreadable_.try_emplace(name, format);
}

Status TensorCollector::stack_experts() {
  for (auto& [name, stack] : stacks_) {
    std::ranges::sort(stack.parts, {}, &Part::expert);
    TensorInfo stacked{name, stack.first.type, {}, {}};
    stacked.ranges.reserve(stack.parts.size());
    for (const Part& part : stack.parts) {
      const std::uint64_t next = stacked.ranges.size();
      if (part.expert < next) {
        return corrupt("tensor '" + name + "': expert " + std::to_string(part.expert) +
                       " appears twice");
      }
      if (part.expert > next) {
        return corrupt("tensor '" + name + "': expert " + std::to_string(next) +
                       " is missing, though expert " + std::to_string(part.expert) + " is there");
      }
      stacked.ranges.push_back(part.range);
    }
    stacked.shape.push_back(stacked.ranges.size());
    stacked.shape.insert(stacked.shape.end(), stack.first.shape.begin(), stack.first.shape.end());
    SLUICE_TRY(add(std::move(stacked)));
  }
  stacks_.clear();
  return {};
}

Status TensorCollector::check_overlaps() const {
  struct Place {
    const FileRange* range;
    const TensorInfo* tensor;
  };
  std::vector<Place> places;
  for (const auto& [name, tensor] : tensors_) {
    for (const FileRange& range : tensor.ranges) places.push_back({&range, &tensor});
  }
  std::ranges::sort(places, [](const Place& a, const Place& b) {
    return std::pair(a.range->file, a.range->offset) < std::pair(b.range->file, b.range->offset);
  });
  for (std::size_t i = 1; i < places.size(); ++i) {
    const FileRange& before = *places[i - 1].range;
    const FileRange& range = *places[i].range;
    if (before.file == range.file && before.offset + before.bytes > range.offset) {
      return corrupt("tensors '" + places[i - 1].tensor->name + "' and '" + places[i].tensor->name +
                     "' overlap at byte " + std::to_string(range.offset));
    }
  }
  return {};
}

Status TensorCollector::finish(Checkpoint& checkpoint) {
  SLUICE_TRY(stack_experts());
  SLUICE_TRY(check_overlaps());
  checkpoint.tensors = std::move(tensors_);
  checkpoint.unreadable = std::move(unreadable_);
  return {};
}

}  // namespace sluice

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

Status TensorCollector::add_to(Stack& stack, std::uint64_t expert, TensorInfo part) {
  if (stack.parts.empty()) {
    stack.parts.push_back({expert, part.ranges.front()});
    stack.first = std::move(part);
    return {};
  }
  if (part.type != stack.first.type || part.shape != stack.first.shape ||
      part.stored.has_value() != stack.first.stored.has_value()) {
    return corrupt("tensor '" + part.name + "' has another type or shape than '" +
                   stack.first.name + "': experts of one layer must be alike");
  }
  stack.parts.push_back({expert, part.ranges.front()});
  return {};
}

Status TensorCollector::add_expert(const std::string& stacked_name, std::uint64_t expert,
                                   TensorInfo part) {
  return add_to(stacks_[stacked_name], expert, std::move(part));
}

Status TensorCollector::add_scales(const std::string& codes_name,
                                   std::optional<std::uint64_t> expert, TensorInfo part) {
  if (expert) return add_to(expert_scales_[codes_name], *expert, std::move(part));
  const std::string name = part.name;
  if (!scales_.try_emplace(codes_name, std::move(part)).second) {
    return corrupt("tensor '" + name + "' appears twice");
  }
  return {};
}

void TensorCollector::add_unreadable(const std::string& name, std::string_view format) {
  unreadable_.try_emplace(name, format);
}

Result<TensorInfo> TensorCollector::stack_up(const std::string& name, Stack& stack) {
  std::ranges::sort(stack.parts, {}, &Part::expert);
  TensorInfo stacked{name, stack.first.type, {}, {}, stack.first.stored};
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
  return stacked;
}

Status TensorCollector::stack_experts() {
  for (auto& [name, stack] : stacks_) {
    SLUICE_ASSIGN(TensorInfo stacked, stack_up(name, stack));
    SLUICE_TRY(add(std::move(stacked)));
  }
  stacks_.clear();
  for (auto& [name, stack] : expert_scales_) {
    SLUICE_ASSIGN(TensorInfo stacked, stack_up(name + "_scale", stack));
    scales_.try_emplace(name, std::move(stacked));
  }
  expert_scales_.clear();
  return {};
}

Status TensorCollector::attach_all_scales(const ScaleBlock& block) {
  for (auto& [name, scales] : scales_) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || !found->second.stored) {
      // Of a format that nobody has looked at; its codes are known under other names.
      add_unreadable(name + "_scale", "scales without codes");
      continue;
    }
    SLUICE_TRY(attach_scales(found->second, scales, block));
  }
  for (auto at = tensors_.begin(); at != tensors_.end();) {
    if (at->second.stored && at->second.stored->scales.empty()) {
      add_unreadable(at->first, "codes without scales");
      at = tensors_.erase(at);
    } else {
      ++at;
    }
  }
  return {};
}

Status TensorCollector::check_overlaps() const {
  struct Place {
    const FileRange* range;
    const TensorInfo* tensor;
  };
  std::vector<Place> places;
  for (const auto* map : {&tensors_, &scales_}) {
    for (const auto& [name, tensor] : *map) {
      for (const FileRange& range : tensor.ranges) places.push_back({&range, &tensor});
    }
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

Status TensorCollector::finish(Checkpoint& checkpoint, const ScaleBlock& block) {
  SLUICE_TRY(stack_experts());
  SLUICE_TRY(check_overlaps());
  SLUICE_TRY(attach_all_scales(block));
  checkpoint.tensors = std::move(tensors_);
  checkpoint.unreadable = std::move(unreadable_);
  return {};
}

}  // namespace sluice

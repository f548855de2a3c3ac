#include "experts/expert_catalogue.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "formats/expert_tensors.h"
#include "formats/store_format.h"
#include "formats/stored_layout.h"

namespace sluice {
namespace {

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + "]";
}

Status corrupt(const std::string& tensor, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "tensor " + tensor + ": " + what);
}

/// Checks one matrix of a layer and notes where its slices are. The first (gate) sets the layer's
/// shape.
Status add_matrix(const Checkpoint& checkpoint, std::size_t matrix, ExpertLayer& layer) {
  const std::string name = expert_tensor_name(layer.layer, kExpertMatrices[matrix]);
  const Result<const TensorInfo*> required = checkpoint.require(name);
  if (required.status().code() == ErrorCode::kNotFound) {
    return corrupt(name, "is missing beside the layer's other expert matrices");
  }
  if (!required.ok()) return required.status();
  const TensorInfo* tensor = *required;

  const bool is_down = matrix == 2;
  const std::vector<std::uint64_t>& shape = tensor->shape;
  if (shape.size() != 3 || std::count(shape.begin(), shape.end(), 0) != 0) {
    return corrupt(name, "shape " + shape_text(shape) + " is not [experts, rows, columns]");
  }
  if (matrix == 0) {
    // The limit is CacheKey's; the largest published models have a few hundred.
    if (shape[0] > std::numeric_limits<std::uint16_t>::max()) {
      return Status(ErrorCode::kUnsupported,
                    "tensor " + name + ": " + std::to_string(shape[0]) + " experts in one layer");
    }
    layer.experts = static_cast<std::uint32_t>(shape[0]);
    layer.ffn = shape[1];
    layer.hidden = shape[2];
    layer.ranges.resize(layer.experts);
  }
  const std::vector<std::uint64_t> expected = {layer.experts, is_down ? layer.hidden : layer.ffn,
                                               is_down ? layer.ffn : layer.hidden};
  if (shape != expected) {
    return corrupt(name, "shape " + shape_text(shape) +
                             " where the layer's other matrices ask for " + shape_text(expected));
  }

  const TensorFormat* format = find_tensor_format(tensor->type);
  if (format == nullptr) {
    return corrupt(name,
                   "unknown type " + std::to_string(static_cast<std::uint32_t>(tensor->type)));
  }
  // Far beyond any model, and no product below can overflow.
  constexpr std::uint64_t kMaxExtent = std::uint64_t{1} << 28;
  if (shape[1] > kMaxExtent || shape[2] > kMaxExtent) {
    return corrupt(name, "shape " + shape_text(shape) + " is too large");
  }
  if (shape[2] % format->block_elements != 0) {
    return corrupt(name, "rows of " + std::to_string(shape[2]) + " are no whole " +
                             std::string(format->name) + " blocks");
  }
  layer.views[matrix] = row_view(*tensor);

  if (tensor->ranges.size() != 1 && tensor->ranges.size() != layer.experts) {
    return corrupt(name, std::to_string(tensor->ranges.size()) + " parts for " +
                             std::to_string(layer.experts) + " experts");
  }
  const std::uint64_t slice_bytes = format->bytes(shape[2]) * shape[1];
  if (tensor->stored) {
    const std::size_t scales = tensor->stored->scales.size();
    if (tensor->ranges.size() != layer.experts || (scales != 0 && scales != layer.experts)) {
      return corrupt(name, "its experts are not apart, or not all have scales");
    }
    layer.stored[matrix] = *tensor;
  }
  for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
    const FileRange range = tensor->slice(expert);
    const std::string who = "expert " + std::to_string(expert);
    if (tensor->stored) {
      FileRange& scales = layer.ranges[expert][matrix + 3];
      if (!tensor->stored->scales.empty()) scales = tensor->stored->scales[expert];
      if (scales.file >= checkpoint.files.size() ||
          scales.offset > std::numeric_limits<std::int64_t>::max() - scales.bytes) {
        return corrupt(name, who + "'s scales lie outside the files");
      }
      SLUICE_TRY(check_range(*tensor, range.bytes, scales.bytes));
    }
    if (range.file >= checkpoint.files.size()) {
      return corrupt(name, who + " lies in file " + std::to_string(range.file) + " of " +
                               std::to_string(checkpoint.files.size()));
    }
    if ((range.bytes != slice_bytes && !tensor->stored) ||
        range.offset > std::numeric_limits<std::int64_t>::max() - range.bytes) {
      return corrupt(name, who + " takes " + std::to_string(range.bytes) + " bytes at " +
                               std::to_string(range.offset) + " where its shape and type make " +
                               std::to_string(slice_bytes));
    }
    layer.ranges[expert][matrix] = range;
  }
  return {};
}

/// The block that an expert's ranges fill; null where there is none, or where they do not.
const CheckedBlock* block_of(const Checkpoint& checkpoint, ExpertRanges ranges) {
  const CheckedBlock* const block = checkpoint.block_of(ranges.front());
  if (block == nullptr) return nullptr;
  std::ranges::sort(ranges, {}, &FileRange::offset);
  std::uint64_t end = block->offset, gap = 0;  // none before the first
  for (const FileRange& range : ranges) {
    if (range.bytes == 0) continue;
    if (checkpoint.block_of(range) != block || range.offset > end + gap) return nullptr;
    end = std::max(end, range.offset + range.bytes);
    gap = kStoreRangeAlignment - 1;
  }
  return end == block->offset + block->bytes ? block : nullptr;
}

void note_blocks(const Checkpoint& checkpoint, ExpertLayer& layer) {
  if (checkpoint.blocks.empty()) return;
  for (const ExpertRanges& ranges : layer.ranges) {
    const CheckedBlock* const block = block_of(checkpoint, ranges);
    if (block == nullptr) {
      layer.blocks.clear();
      return;
    }
    layer.blocks.push_back(*block);
  }
}

Status check_all_relays(const ExpertLayer& layer) {
  for (const auto& stored : layer.stored) {
    if (stored) SLUICE_TRY(check_relay(*stored));
  }
  return {};
}

/// Where kernels can use all three matrices as they lie, nothing is relaid. kUnsupported: one must
/// be, and cannot.
Status use_in_place(ExpertLayer& layer) {
  std::array<WeightView, 3> views = layer.views;
  for (std::size_t i = 0; i < views.size(); ++i) {
    if (!layer.stored[i]) continue;
    const std::optional<WeightView> view = weight_view(*layer.stored[i]);
    if (!view) return check_all_relays(layer);
    views[i] = *view;
  }
  layer.views = views;
  layer.stored = {};
  return {};
}

}  // namespace

Result<ExpertCatalogue> ExpertCatalogue::build(const Checkpoint& checkpoint) {
  std::set<std::uint32_t> sparse;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (const auto layer = layer_of_experts(name)) sparse.insert(*layer);
  }
  for (const auto& [name, format] : checkpoint.unreadable) {
    if (const auto layer = layer_of_experts(name))
      sparse.insert(*layer);  // `require` will say what it is
  }
  ExpertCatalogue catalogue;
  catalogue.files_ = checkpoint.files;
  catalogue.layers_.reserve(sparse.size());
  for (const std::uint32_t number : sparse) {
    ExpertLayer& layer = catalogue.layers_.emplace_back();
    layer.layer = number;
    for (std::size_t matrix = 0; matrix < kExpertMatrices.size(); ++matrix) {
      SLUICE_TRY(add_matrix(checkpoint, matrix, layer));
    }
    SLUICE_TRY(use_in_place(layer));
    note_blocks(checkpoint, layer);
  }
  return catalogue;
}

const ExpertLayer* ExpertCatalogue::find(std::uint32_t layer) const {
  const auto at = std::lower_bound(
      layers_.begin(), layers_.end(), layer,
      [](const ExpertLayer& left, std::uint32_t right) { return left.layer < right; });
  return at != layers_.end() && at->layer == layer ? &*at : nullptr;
}

std::uint64_t ExpertCatalogue::total_bytes() const {
  std::uint64_t total = 0;
  for (const ExpertLayer& layer : layers_) total += layer.expert_bytes() * layer.experts;
  return total;
}

std::uint64_t ExpertCatalogue::total_experts() const {
  std::uint64_t total = 0;
  for (const ExpertLayer& layer : layers_) total += layer.experts;
  return total;
}

std::size_t ExpertCatalogue::widest_layer() const {
  std::size_t most = 0;
  for (const ExpertLayer& layer : layers_) most = std::max<std::size_t>(most, layer.experts);
  return most;
}

}  // namespace sluice

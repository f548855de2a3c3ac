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

using ExpertTensors = std::array<const TensorInfo*, 3>;

/// Checks one matrix of a layer and notes where its slices are. The first (gate) sets the layer's
/// shape.
Status add_matrix(const Checkpoint& checkpoint, std::size_t matrix, ExpertLayer& layer,
                  ExpertTensors& tensors) {
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
  tensors[matrix] = tensor;
  if (tensor->ranges.empty()) return {};  // there are planes, which are checked where they are used

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

/// The blocks that an expert's ranges fill, from end to end; none where they do not.
std::vector<CheckedBlock> blocks_of(const Checkpoint& checkpoint, ExpertRanges ranges) {
  constexpr std::uint64_t kGap = kStoreRangeAlignment - 1;
  std::ranges::sort(ranges, {}, &FileRange::offset);
  const FileRange* first = nullptr;
  std::uint64_t end = 0;
  for (const FileRange& range : ranges) {
    if (range.bytes == 0) continue;
    if (first == nullptr) {
      first = &range;
      end = range.offset;
    }
    if (range.file != first->file || range.offset > end + kGap) return {};
    end = std::max(end, range.offset + range.bytes);
  }
  if (first == nullptr) return {};
  std::vector<CheckedBlock> blocks;
  auto block =
      std::ranges::lower_bound(checkpoint.blocks, first->offset, {}, &CheckedBlock::offset);
  std::uint64_t at = first->offset;
  for (; block != checkpoint.blocks.end() && block->offset < end; ++block) {
    if (block->offset > at + (blocks.empty() ? 0 : kGap)) return {};
    blocks.push_back(*block);
    at = block->offset + block->bytes;
  }
  return at == end ? blocks : std::vector<CheckedBlock>();
}

void note_blocks(const Checkpoint& checkpoint, ExpertLayer& layer) {
  if (checkpoint.blocks.empty()) return;
  for (const ExpertRanges& ranges : layer.ranges) {
    layer.blocks.push_back(blocks_of(checkpoint, ranges));
    if (layer.blocks.back().empty() && ranges[0].bytes > 0) {
      layer.blocks.clear();
      return;
    }
  }
}

constexpr unsigned kMostWidth = 8;

Status check_width(unsigned width) {
  const std::vector<unsigned> widths = expert_widths();
  if (width == kExactWidth || width == kAutoWidth || std::ranges::count(widths, width) != 0) {
    return {};
  }
  std::string all;
  for (const unsigned bits : widths) all += (all.empty() ? "" : ", ") + std::to_string(bits);
  return Status(ErrorCode::kInvalidArgument,
                "a width of " + std::to_string(width) + " bits: there are " + all);
}

bool have_planes(const ExpertTensors& tensors) {
  return std::ranges::all_of(tensors,
                             [](const TensorInfo* tensor) { return tensor->nested.has_value(); });
}

/// Of each expert, how many bits its widest matrix has. All three rest at the same width, or with
/// all bits that their form has.
Result<std::vector<std::uint8_t>> rests_of(const ExpertTensors& tensors) {
  std::vector<std::uint8_t> rests(tensors[0]->shape[0]);
  for (std::uint64_t expert = 0; expert < rests.size(); ++expert) {
    unsigned rest = 0;
    for (const TensorInfo* tensor : tensors) rest = std::max(rest, tensor->nested->width(expert));
    for (const TensorInfo* tensor : tensors) {
      const NestedRanges& nested = *tensor->nested;
      if (nested.group_count(expert) == nested.form->groups_within(rest)) continue;
      return corrupt(tensor->name, "expert " + std::to_string(expert) + " has planes for " +
                                       std::to_string(nested.width(expert)) +
                                       " bits where its other matrices have " +
                                       std::to_string(rest));
    }
    rests[expert] = static_cast<std::uint8_t>(rest);
  }
  return rests;
}

unsigned most_bits(const ExpertTensors& tensors) {
  unsigned most = 0;
  for (const TensorInfo* tensor : tensors) {
    most = std::max<unsigned>(most, tensor->nested->form->bits);
  }
  return most;
}

/// Whether so many bits are all that the file has of these experts, the widest of which rests at
/// `rest`.
bool is_all(const ExpertTensors& tensors, unsigned width, unsigned rest) {
  return std::ranges::all_of(tensors, [&](const TensorInfo* tensor) {
    const NestedForm& form = *tensor->nested->form;
    return width >= std::min<unsigned>(form.bits, rest) && (!form.fitted || tensor->ranges.empty());
  });
}

bool any_is_fitted(const ExpertTensors& tensors) {
  return std::ranges::any_of(tensors,
                             [](const TensorInfo* tensor) { return tensor->nested->form->fitted; });
}

/// Widths at which a part of experts in parts ends: those of the matrices, up to the widest
/// expert's.
std::vector<std::uint8_t> widths_of(const ExpertTensors& tensors, unsigned rest) {
  std::set<std::uint8_t> widths;
  for (const TensorInfo* tensor : tensors) {
    const NestedForm& form = *tensor->nested->form;
    for (std::size_t groups = 1; groups <= form.groups_within(rest); ++groups) {
      widths.insert(static_cast<std::uint8_t>(form.width(groups)));
    }
  }
  return {widths.begin(), widths.end()};
}

/// The groups of all three matrices that one width has beyond a narrower one.
class PartOfExperts {
 public:
  PartOfExperts(const ExpertTensors& tensors, unsigned narrower, unsigned width)
      : tensors_(tensors), narrower_(narrower), width_(width) {}

  /// use(matrix, group, range) for each that an expert has.
  template <typename Use>
  void each_group(std::uint32_t expert, const Use& use) const {
    for (std::size_t matrix = 0; matrix < tensors_.size(); ++matrix) {
      const NestedRanges& nested = *tensors_[matrix]->nested;
      const NestedForm& form = *nested.form;
      for (std::size_t group = 0; group < form.group_count; ++group) {
        const unsigned bits = form.width(group + 1);
        const FileRange& range = nested.group(expert, group);
        if (bits <= narrower_ || bits > width_ || range.bytes == 0) continue;
        use(matrix, group, range);
      }
    }
  }
  /// They must lie together: {.bytes = 0}, they do not. Nothing where the expert has none.
  std::optional<FileRange> range(std::uint32_t expert) const {
    std::uint64_t begin = ~std::uint64_t{0}, end = 0, sum = 0;
    each_group(expert, [&](std::size_t, std::size_t, const FileRange& range) {
      begin = std::min(begin, range.offset);
      end = std::max(end, range.offset + range.bytes);
      sum += range.bytes + kStoreRangeAlignment;
    });
    if (sum == 0) return std::nullopt;
    return FileRange{0, begin, end - begin <= sum ? end - begin : 0};
  }

 private:
  const ExpertTensors& tensors_;
  const unsigned narrower_, width_;
};

/// An expert's groups, from the first to the last that each of `widths` asks for beyond the one
/// before, are a range, the same for all its matrices; where the expert has none of them, there is
/// no range. REQUIRES: have_planes, and the widths are some of theirs; `rest`: the widest expert's.
Status use_planes(const ExpertTensors& tensors, std::span<const std::uint8_t> widths, unsigned rest,
                  ExpertLayer& layer) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const NestedForm& form = *tensors[i]->nested->form;
    const unsigned own = form.width(form.groups_within(std::min<unsigned>(widths.back(), rest)));
    layer.views[i] = {};
    layer.views[i].matrix = {
        .format = &form.format(),
        .rows = tensors[i]->shape[1],
        .columns = tensors[i]->shape[2],
        .layout = WeightLayout::kPlanes,
        .nested = {.form = &form, .width = static_cast<std::uint8_t>(own), .at = {}}};
  }
  layer.ranges.assign(layer.experts * widths.size(), {});
  std::array<std::array<bool, kMostNestedGroups>, 3> known{};  // where the group lies
  for (std::size_t part = 0; part < widths.size(); ++part) {
    const PartOfExperts groups(tensors, part == 0 ? 0 : widths[part - 1], widths[part]);
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      const std::optional<FileRange> range = groups.range(expert);
      if (!range) continue;
      bool alike = range->bytes > 0;
      groups.each_group(expert, [&](std::size_t matrix, std::size_t group, const FileRange& from) {
        WeightView& view = layer.views[matrix];
        const auto at = static_cast<std::int64_t>(from.offset - range->offset);
        std::int64_t& place = view.matrix.nested.at[group];
        if (expert == 0 && group == 0) view.offset = static_cast<std::uint64_t>(at);
        // In the first part a matrix begins with its group 0.
        const std::int64_t within = part == 0 ? at - static_cast<std::int64_t>(view.offset) : at;
        if (!known[matrix][group]) place = within;
        known[matrix][group] = true;
        alike = alike && place == within && within >= 0;
      });
      if (!alike) {
        return corrupt(tensors[0]->name,
                       "the planes of expert " + std::to_string(expert) +
                           " do not lie as those of the experts before it do, together");
      }
      std::fill_n(layer.ranges[expert * widths.size() + part].begin(), 3, *range);
    }
  }
  layer.stored = {};
  return {};
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

// Eight bits have the groups of all narrower codes, too.
std::vector<unsigned> expert_widths() {
  const NestedForm& widest = *nested_form_of(TensorType::kF32);
  std::vector<unsigned> widths;
  for (std::size_t groups = 1; groups <= widest.group_count; ++groups) {
    widths.push_back(widest.width(groups));
  }
  return widths;
}

std::uint8_t ExpertLayer::width_there(std::size_t expert, std::size_t matrix) const {
  const NestedView& view = views[matrix].matrix.nested;
  if (rests.empty()) return view.width;
  const NestedForm& form = *view.form;
  const unsigned rest = form.width(form.groups_within(rests[expert]));
  return static_cast<std::uint8_t>(std::min<unsigned>(view.width, rest));
}

std::uint64_t ExpertLayer::total_bytes() const {
  if (rests.empty()) return expert_bytes() * experts;
  std::uint64_t total = 0;
  for (std::size_t expert = 0; expert < experts; ++expert) {
    for (std::size_t i = 0; i < views.size(); ++i) {
      WeightMatrix matrix = views[i].matrix;
      matrix.nested.width = width_there(expert, i);
      total += matrix.bytes();
    }
  }
  return total;
}

std::size_t ExpertLayer::parts_of(unsigned bits) const {
  const auto end = std::ranges::lower_bound(widths, bits);
  const auto parts = static_cast<std::size_t>(end - widths.begin()) + 1;
  return std::min(parts, this->parts());
}

Result<ExpertCatalogue> ExpertCatalogue::build(const Checkpoint& checkpoint, unsigned width) {
  SLUICE_TRY(check_width(width));
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
  catalogue.width_ = width;
  catalogue.layers_.reserve(sparse.size());
  for (const std::uint32_t number : sparse) {
    ExpertLayer& layer = catalogue.layers_.emplace_back();
    layer.layer = number;
    ExpertTensors tensors{};
    for (std::size_t matrix = 0; matrix < kExpertMatrices.size(); ++matrix) {
      SLUICE_TRY(add_matrix(checkpoint, matrix, layer, tensors));
    }
    const bool only_planes = std::ranges::any_of(
        tensors, [](const TensorInfo* tensor) { return tensor->ranges.empty(); });
    if (only_planes && !have_planes(tensors)) {
      return corrupt(tensors[0]->name, "a matrix of its layer has neither bytes nor planes");
    }
    if (have_planes(tensors) && (only_planes || width != kExactWidth)) {
      SLUICE_ASSIGN(layer.rests, rests_of(tensors));
      const unsigned rest = std::ranges::max(layer.rests);
      std::vector<std::uint8_t> widths = {
          static_cast<std::uint8_t>(width == kExactWidth ? kMostWidth : width)};
      if (width == kAutoWidth) widths = layer.widths = widths_of(tensors, rest);
      SLUICE_TRY(use_planes(tensors, widths, rest, layer));
      if (std::ranges::min(layer.rests) == most_bits(tensors)) layer.rests.clear();
      const bool all = width != kAutoWidth && is_all(tensors, widths.back(), rest);
      catalogue.reads_all_ = catalogue.reads_all_ && all;
      catalogue.exact_ = catalogue.exact_ && all && layer.rests.empty() && !any_is_fitted(tensors);
    } else {
      SLUICE_TRY(use_in_place(layer));
    }
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
  for (const ExpertLayer& layer : layers_) total += layer.total_bytes();
  return total;
}

std::uint64_t ExpertCatalogue::total_experts() const {
  std::uint64_t total = 0;
  for (const ExpertLayer& layer : layers_) total += layer.experts;
  return total;
}

double ExpertCatalogue::mean_bits() const {
  double weights = 0;
  for (const ExpertLayer& layer : layers_) {
    weights += 3.0 * static_cast<double>(layer.hidden * layer.ffn * layer.experts);
  }
  return weights == 0 ? 0 : 8 * static_cast<double>(total_bytes()) / weights;
}

std::size_t ExpertCatalogue::layers_in_planes() const {
  return static_cast<std::size_t>(std::ranges::count_if(layers_, &ExpertLayer::planes));
}

std::pair<unsigned, unsigned> ExpertCatalogue::widths_of_planes() const {
  unsigned fewest = ~0u, most = 0;
  for (const ExpertLayer& layer : layers_) {
    if (!layer.planes()) continue;
    for (const WeightView& view : layer.views) {
      fewest = std::min<unsigned>(fewest, view.matrix.nested.width);
      most = std::max<unsigned>(most, view.matrix.nested.width);
    }
  }
  return {std::min(fewest, most), most};
}

std::map<unsigned, std::uint64_t> ExpertCatalogue::resting_widths() const {
  std::map<unsigned, std::uint64_t> counts;
  for (const ExpertLayer& layer : layers_) {
    for (const std::uint8_t rest : layer.rests) ++counts[rest];
    if (!layer.rests.empty() || !layer.planes()) continue;
    unsigned most = 0;
    for (const WeightView& view : layer.views) {
      most = std::max<unsigned>(most, view.matrix.nested.form->bits);
    }
    counts[most] += layer.experts;
  }
  return counts;
}

std::size_t ExpertCatalogue::most_parts() const {
  std::size_t most = 1;
  for (const ExpertLayer& layer : layers_) most = std::max(most, layer.parts());
  return most;
}

std::size_t ExpertCatalogue::widest_layer() const {
  std::size_t most = 0;
  for (const ExpertLayer& layer : layers_) most = std::max<std::size_t>(most, layer.experts);
  return most;
}

}  // namespace sluice

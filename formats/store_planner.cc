#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "formats/checksum.h"
#include "formats/expert_tensors.h"
#include "formats/store_codec.h"
#include "formats/store_format.h"
#include "formats/store_header.h"
#include "formats/stored_layout.h"

namespace sluice {
namespace {

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Ranges of the source that overlap are one run: what two tensors share is copied once.
class Runs {
 public:
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  struct Run {
    FileRange from;
    std::uint64_t to = kNowhere;
  };

  explicit Runs(std::vector<FileRange> ranges) {
    std::ranges::sort(ranges, {}, place);
    for (const FileRange& range : ranges) {
      FileRange* const last = runs_.empty() ? nullptr : &runs_.back().from;
      if (last == nullptr || last->file != range.file ||
          range.offset >= last->offset + last->bytes) {
        runs_.push_back({range});
      } else {
        last->bytes = std::max(last->bytes, range.offset + range.bytes - last->offset);
      }
    }
  }

  /// REQUIRES: one of the ranges.
  Run& of(const FileRange& range) {
    const auto after = std::ranges::upper_bound(runs_, place(range), {},
                                                [](const Run& run) { return place(run.from); });
    return *std::prev(after);
  }

 private:
  static std::pair<std::uint32_t, std::uint64_t> place(const FileRange& range) {
    return {range.file, range.offset};
  }
  std::vector<Run> runs_;
};

using ExpertTensors = std::array<TensorInfo*, 3>;

/// Gives every range of a checkpoint its place. Offsets count from the first block.
class Planner {
 public:
  Planner(const Checkpoint& source, const StoreChoice& choice) : choice_(choice) {
    index_.checkpoint = source;
  }

  StoreIndex take_index() { return std::move(index_); }
  std::vector<StoreCopy> take_copies() { return std::move(copies_); }
  std::vector<StoreNestedLayer> take_nested_layers() { return std::move(nested_layers_); }
  const StoreLeftLayers& left_layers() const { return left_; }
  std::vector<StoreNestedExpert> take_nested() { return std::move(nested_); }
  std::uint64_t end() const { return end_; }

  Status place_all() {
    std::set<std::uint32_t> layers;
    for (const auto& [name, tensor] : index_.checkpoint.tensors) {
      if (const auto layer = layer_of_experts(name)) layers.insert(*layer);
    }
    std::map<std::uint32_t, ExpertTensors> sparse;
    std::set<const TensorInfo*> of_experts;
    for (const std::uint32_t layer : layers) {
      if (const auto tensors = experts_of(layer)) {
        sparse.emplace(layer, *tensors);
        of_experts.insert(tensors->begin(), tensors->end());
      }
    }
    std::vector<TensorInfo*> dense;
    for (auto& [name, tensor] : index_.checkpoint.tensors) {
      if (of_experts.contains(&tensor)) continue;
      if (tensor.nested) return misplaced(tensor);
      dense.push_back(&tensor);
    }
    for (const auto& [layer, tensors] : sparse) {
      const auto in_planes = std::ranges::count_if(
          tensors, [](const TensorInfo* tensor) { return tensor->nested.has_value(); });
      if (in_planes % 3 != 0) return misplaced(*tensors[0]);
    }
    place_dense(dense);
    for (const auto& [layer, tensors] : sparse) place_experts(layer, tensors);
    return {};
  }

 private:
  static Status misplaced(const TensorInfo& tensor) {
    return {
        ErrorCode::kCorrupt,
        "tensor '" + tensor.name + "': planes of a layer whose three matrices do not fit together"};
  }
  static std::span<FileRange> scales_of(TensorInfo& tensor) {
    return tensor.stored ? std::span(tensor.stored->scales) : std::span<FileRange>();
  }

  /// A layer's matrices where each expert can be told apart. Where not, they lie as other tensors
  /// do: whoever uses them says what is wrong.
  std::optional<ExpertTensors> experts_of(std::uint32_t layer) {
    ExpertTensors tensors{};
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto found =
          index_.checkpoint.tensors.find(expert_tensor_name(layer, kExpertMatrices[i]));
      if (found == index_.checkpoint.tensors.end()) return std::nullopt;
      TensorInfo& tensor = found->second;
      tensors[i] = &tensor;
      const std::uint64_t experts = tensors[0]->shape.front();
      const bool whole =
          tensor.ranges.size() == 1 && !tensor.stored && tensor.ranges.front().bytes % experts == 0;
      const std::size_t scales = scales_of(tensor).size();
      const bool apart =
          tensor.ranges.size() == experts || (tensor.nested && tensor.ranges.empty());
      if (tensor.shape.size() != 3 || tensor.shape.front() != experts || (!apart && !whole) ||
          (scales != 0 && scales != experts)) {
        return std::nullopt;
      }
    }
    return tensors;
  }

  void place_dense(const std::vector<TensorInfo*>& tensors) {
    std::vector<FileRange> all;
    for (TensorInfo* tensor : tensors) {
      all.insert(all.end(), tensor->ranges.begin(), tensor->ranges.end());
      const std::span<const FileRange> scales = scales_of(*tensor);
      all.insert(all.end(), scales.begin(), scales.end());
    }
    Runs runs(std::move(all));
    for (TensorInfo* tensor : tensors) {
      begin_block();
      for (FileRange& range : tensor->ranges) range = place(range, runs);
      for (FileRange& range : scales_of(*tensor)) range = place(range, runs);
      end_block();
    }
  }

  void place_experts(std::uint32_t layer, const ExpertTensors& tensors) {
    const std::uint64_t experts = tensors[0]->shape.front();
    const bool nested = begin_nested(tensors);
    const bool verbatim =
        !nested || (choice_.keep_floats && std::ranges::any_of(tensors, is_fitted) &&
                    std::ranges::none_of(tensors, has_no_bytes));
    std::array<std::vector<FileRange>, 3> placed;
    for (std::uint64_t expert = 0; expert < experts; ++expert) {
      if (nested) place_nested(layer, tensors, static_cast<std::uint32_t>(expert));
      if (!verbatim) continue;
      std::vector<FileRange> all;
      for (TensorInfo* tensor : tensors) {
        all.push_back(tensor->slice(expert));
        if (!scales_of(*tensor).empty()) all.push_back(scales_of(*tensor)[expert]);
      }
      Runs runs(std::move(all));
      begin_block();
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        placed[i].push_back(place(tensors[i]->slice(expert), runs));
      }
      for (TensorInfo* tensor : tensors) {
        if (scales_of(*tensor).empty()) continue;
        FileRange& scales = scales_of(*tensor)[expert];
        scales = place(scales, runs);
      }
      end_block();
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tensors[i]->ranges = std::move(placed[i]);
      if (!verbatim) tensors[i]->stored.reset();
    }
  }

  static bool is_fitted(const TensorInfo* tensor) { return tensor->nested->form->fitted; }
  static bool has_no_bytes(const TensorInfo* tensor) { return tensor->ranges.empty(); }

  /// Whether the layer's experts become planes, or are. Then their tensors say so from now on.
  bool begin_nested(const ExpertTensors& tensors) {
    StoreNestedLayer layer;
    if (tensors[0]->nested) {
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        layer.tensors[i] = *tensors[i];
        layer.forms[i] = tensors[i]->nested->form;
        tensors[i]->nested->groups.clear();
      }
      nested_layers_.push_back(std::move(layer));
      return true;
    }
    if (!choice_.nest || !choice_.nest(tensors[0]->name)) {
      left_.unasked += 1;
      return false;
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const TensorInfo& tensor = *tensors[i];
      const NestedForm* const form = nested_form_of(tensor.type);
      // Integers that lie there otherwise must be such as can be laid out first.
      if (form == nullptr || tensor.shape.back() % form->block != 0 ||
          (tensor.stored && !form->fitted && !check_relay(tensor).ok())) {
        if (left_.unfit++ == 0) left_.first_unfit = tensor;
        return false;
      }
      layer.tensors[i] = tensor;
      layer.forms[i] = form;
    }
    for (TensorInfo* tensor : tensors) {
      tensor->nested.emplace(NestedRanges{nested_form_of(tensor->type), {}});
    }
    nested_layers_.push_back(std::move(layer));
    return true;
  }

  /// The most bits of an expert that there are, or are wanted.
  std::uint8_t width_of(std::uint32_t number, const StoreNestedLayer& layer,
                        std::uint32_t expert) const {
    unsigned width = 0;
    for (std::size_t i = 0; i < layer.forms.size(); ++i) {
      const std::optional<NestedRanges>& there = layer.tensors[i].nested;
      width = std::max<unsigned>(width, there ? there->width(expert) : layer.forms[i]->bits);
    }
    const auto wanted = choice_.widths.find(number);
    if (wanted != choice_.widths.end()) width = std::min<unsigned>(width, wanted->second[expert]);
    return static_cast<std::uint8_t>(width);
  }

  /// Each group of an expert's planes is a block: gate's, up's and down's.
  void place_nested(std::uint32_t number, const ExpertTensors& tensors, std::uint32_t expert) {
    StoreNestedLayer& layer = nested_layers_.back();
    const std::uint8_t width = width_of(number, layer, expert);
    std::uint64_t first = 0;
    for (std::size_t group = 0; group < kMostNestedGroups; ++group) {
      begin_block(group == 0 ? kStoreBlockAlignment : kStoreRangeAlignment);
      if (group == 0) first = begin_;
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        const NestedForm& form = *layer.forms[i];
        if (group >= form.group_count) continue;
        if (form.width(group + 1) > width) {
          tensors[i]->nested->groups.emplace_back();
          continue;
        }
        const std::vector<std::uint64_t>& shape = tensors[i]->shape;
        const std::uint64_t to = round_up(at_, kStoreRangeAlignment);
        const std::uint64_t bytes = form.group_bytes(group, shape[1], shape[2]);
        tensors[i]->nested->groups.push_back({0, to, bytes});
        layer.at[i][group] = to - first;
        at_ = to + bytes;
      }
      end_block();
    }
    nested_.push_back({.layer = static_cast<std::uint32_t>(nested_layers_.size() - 1),
                       .expert = expert,
                       .width = width,
                       .to = first,
                       .bytes = end_ - first});
  }

  void begin_block(std::uint64_t alignment = kStoreBlockAlignment) {
    begin_ = at_ = round_up(end_, alignment);
  }

  /// Where the range is in the store; its run is put there if it is nowhere yet.
  FileRange place(const FileRange& range, Runs& runs) {
    Runs::Run& run = runs.of(range);
    if (run.to == Runs::kNowhere) {
      run.to = round_up(at_, kStoreRangeAlignment);
      copies_.push_back({run.from, run.to});
      at_ = run.to + run.from.bytes;
    }
    return {0, run.to + (range.offset - run.from.offset), range.bytes};
  }

  /// None where all its bytes are in earlier ones.
  void end_block() {
    if (at_ == begin_) return;
    index_.blocks.push_back({begin_, at_ - begin_});
    end_ = at_;
  }

  const StoreChoice& choice_;
  StoreIndex index_;
  std::vector<StoreCopy> copies_;
  std::vector<StoreNestedLayer> nested_layers_;
  StoreLeftLayers left_;
  std::vector<StoreNestedExpert> nested_;
  std::uint64_t begin_ = 0;  // of the block
  std::uint64_t at_ = 0;     // its end so far
  std::uint64_t end_ = 0;    // of the last whole one
};

Status check_source(const Checkpoint& source) {
  const std::string path = source.files.empty() ? source.settings_file : source.files.front();
  if (!source.unreadable.empty()) {
    const auto& [name, format] = *source.unreadable.begin();
    return Status(ErrorCode::kUnsupported, path + ": tensor '" + name + "' is in format " + format +
                                               ", which cannot be read yet, nor packed");
  }
  if (source.tensors.empty()) {
    return Status(ErrorCode::kInvalidArgument, path + ": there are no tensors to pack");
  }
  for (const auto& [name, tensor] : source.tensors) {
    for (const FileRange& range : tensor.ranges) {
      if (range.bytes == 0) {
        return Status(ErrorCode::kCorrupt, path + ": tensor '" + name + "' has an empty part");
      }
    }
  }
  return {};
}

}  // namespace

Result<StorePlan> plan_store(const Checkpoint& source, const StoreChoice& choice) {
  SLUICE_TRY(check_source(source));
  Planner planner(source, choice);
  SLUICE_TRY(planner.place_all().with_context(source.files.front()));
  StoreIndex index = planner.take_index();
  const std::vector<std::byte> cbor = encode_store_index(index);
  if (cbor.size() > kMostIndexBytes) {
    return Status(ErrorCode::kUnsupported, source.files.front() + ": an index of " +
                                               std::to_string(cbor.size()) +
                                               " bytes is more than a store may have");
  }
  StoreHeader header{.index_offset = kStoreHeaderBytes,
                     .index_bytes = cbor.size(),
                     .index_checksum = checksum(cbor)};
  const std::uint64_t first = header.first_block();
  StorePlan plan;
  plan.files = source.files;
  if (!source.blocks.empty()) {
    plan.checked.files = source.files;
    plan.checked.tensors = source.tensors;
    plan.checked.blocks = source.blocks;
  }
  plan.blocks = std::move(index.blocks);
  plan.copies = planner.take_copies();
  for (StoreBlock& block : plan.blocks) block.offset += first;
  for (StoreCopy& copy : plan.copies) copy.to += first;
  plan.nested_layers = planner.take_nested_layers();
  plan.left_layers = planner.left_layers();
  plan.nested = planner.take_nested();
  for (StoreNestedExpert& expert : plan.nested) expert.to += first;
  plan.table_offset = round_up(first + planner.end(), kStoreBlockAlignment);
  header.table_offset = plan.table_offset;
  header.table_bytes = (plan.blocks.size() + 1) * sizeof(std::uint64_t);
  header.file_bytes = plan.file_bytes = plan.table_offset + header.table_bytes;
  const StoreHeaderBytes encoded = encode(header);
  plan.head.resize(first);
  std::memcpy(plan.head.data(), encoded.data(), encoded.size());
  std::memcpy(plan.head.data() + kStoreHeaderBytes, cbor.data(), cbor.size());
  return plan;
}

std::vector<std::byte> store_table(std::span<const std::uint64_t> checksums) {
  std::vector<std::uint64_t> table(checksums.begin(), checksums.end());
  table.push_back(checksum(std::as_bytes(checksums)));
  const auto bytes = std::as_bytes(std::span(table));
  return {bytes.begin(), bytes.end()};
}

}  // namespace sluice

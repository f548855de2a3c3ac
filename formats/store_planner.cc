#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "formats/checksum.h"
#include "formats/expert_tensors.h"
#include "formats/store_codec.h"
#include "formats/store_format.h"
#include "formats/store_header.h"

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
  explicit Planner(const Checkpoint& source) { index_.checkpoint = source; }

  StoreIndex take_index() { return std::move(index_); }
  std::vector<StoreCopy> take_copies() { return std::move(copies_); }
  std::uint64_t end() const { return end_; }

  void place_all() {
    std::set<std::uint32_t> layers;
    for (const auto& [name, tensor] : index_.checkpoint.tensors) {
      if (const auto layer = layer_of_experts(name)) layers.insert(*layer);
    }
    std::vector<ExpertTensors> sparse;
    std::set<const TensorInfo*> of_experts;
    for (const std::uint32_t layer : layers) {
      if (const auto tensors = experts_of(layer)) {
        sparse.push_back(*tensors);
        of_experts.insert(tensors->begin(), tensors->end());
      }
    }
    std::vector<TensorInfo*> dense;
    for (auto& [name, tensor] : index_.checkpoint.tensors) {
      if (!of_experts.contains(&tensor)) dense.push_back(&tensor);
    }
    place_dense(dense);
    for (const ExpertTensors& tensors : sparse) place_experts(tensors);
  }

 private:
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
      if (tensor.shape.size() != 3 || tensor.shape.front() != experts ||
          (tensor.ranges.size() != experts && !whole) || (scales != 0 && scales != experts)) {
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

  void place_experts(const ExpertTensors& tensors) {
    const std::uint64_t experts = tensors[0]->shape.front();
    std::array<std::vector<FileRange>, 3> placed;
    for (std::uint64_t expert = 0; expert < experts; ++expert) {
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
    for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i]->ranges = std::move(placed[i]);
  }

  void begin_block() { begin_ = at_ = round_up(end_, kStoreBlockAlignment); }

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

  StoreIndex index_;
  std::vector<StoreCopy> copies_;
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

Result<StorePlan> plan_store(const Checkpoint& source) {
  SLUICE_TRY(check_source(source));
  Planner planner(source);
  planner.place_all();
  StoreIndex index = planner.take_index();
  const std::vector<std::byte> cbor = encode_store_index(index);
  if (cbor.size() > kMostIndexBytes) {
    return Status(ErrorCode::kUnsupported, source.files.front() + ": an index of " +
                                               std::to_string(cbor.size()) +
                                               " bytes is more than a store may have");
  }
  const std::uint64_t first = round_up(kStoreHeaderBytes + cbor.size(), kStoreBlockAlignment);
  StorePlan plan;
  plan.files = source.files;
  plan.blocks = std::move(index.blocks);
  plan.copies = planner.take_copies();
  for (StoreBlock& block : plan.blocks) block.offset += first;
  for (StoreCopy& copy : plan.copies) copy.to += first;
  plan.table_offset = round_up(first + planner.end(), kStoreBlockAlignment);
  const std::uint64_t table_bytes = (plan.blocks.size() + 1) * sizeof(std::uint64_t);
  plan.file_bytes = plan.table_offset + table_bytes;
  const StoreHeaderBytes header = encode({.file_bytes = plan.file_bytes,
                                          .index_offset = kStoreHeaderBytes,
                                          .index_bytes = cbor.size(),
                                          .table_offset = plan.table_offset,
                                          .table_bytes = table_bytes,
                                          .index_checksum = checksum(cbor)});
  plan.head.resize(first);
  std::memcpy(plan.head.data(), header.data(), header.size());
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

#include "experts/expert_loader.h"

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "formats/checksum.h"
#include "formats/stored_layout.h"

namespace sluice {
namespace {
constexpr std::size_t kReapedAtOnce = 64;
constexpr std::size_t kMatrixAlignment = 64;
// What a thread takes at a time.
constexpr std::size_t kRelayRows = 64;
constexpr std::size_t kCopyBytes = 128 * 1024;

/// Where gate, up and down begin in a slot whose bytes are relaid, and where they end.
std::array<std::size_t, 4> relaid_places(const ExpertLayer& layer) {
  std::array<std::size_t, 4> places{};
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t end = places[i] + layer.matrix_bytes(i);
    places[i + 1] = (end + kMatrixAlignment - 1) / kMatrixAlignment * kMatrixAlignment;
  }
  return places;
}

std::size_t relaid_bytes_of(const ExpertLayer& layer) {
  return layer.relaid() ? relaid_places(layer)[3] : 0;
}

}  // namespace

std::size_t ExpertLoader::slot_bytes_bound(const ExpertLayer& layer, std::uint32_t expert,
                                           std::size_t part) {
  return std::max(sluice::slot_bytes_bound(layer.part(expert, part)), relaid_bytes_of(layer));
}

std::size_t ExpertLoader::own_bytes(const ExpertCatalogue& catalogue) {
  std::size_t most = 0;
  for (const ExpertLayer& layer : catalogue.layers()) most = std::max(most, relaid_bytes_of(layer));
  return most;
}

Result<ExpertLoader> ExpertLoader::create(const ExpertCatalogue& catalogue, BlockReader& reader,
                                          std::vector<FileIndex> indices, Clock clock) {
  std::vector<File> files(catalogue.files().size());
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (const auto& ranges : layer.ranges) {
      for (const FileRange& range : ranges) {
        File& file = files[range.file];
        if (range.bytes == 0 || file.size != 0)
          continue;  // known already; a file that holds experts is not empty
        file = {indices[range.file], reader.alignment(indices[range.file]),
                reader.file_size(indices[range.file])};
        if (file.alignment > kMaxAlignment || kMaxAlignment % file.alignment != 0) {
          return Status(ErrorCode::kUnsupported, catalogue.files()[range.file] +
                                                     ": the disk asks for reads aligned to " +
                                                     std::to_string(file.alignment) + " bytes");
        }
      }
    }
  }
  SLUICE_ASSIGN(AlignedBuffer relaid, AlignedBuffer::allocate(own_bytes(catalogue)));
  return ExpertLoader(catalogue, reader, std::move(files), std::move(relaid), std::move(clock));
}

ExpertLoader::ExpertLoader(const ExpertCatalogue& catalogue, BlockReader& reader,
                           std::vector<File> files, AlignedBuffer relaid, Clock clock)
    : catalogue_(&catalogue),
      reader_(&reader),
      files_(std::move(files)),
      relaid_(std::move(relaid)),
      completions_(kReapedAtOnce),
      clock_(std::move(clock)) {
  // A visit may want every expert of a layer, and expect as many of the next: with this, no later
  // one allocates.
  const std::size_t experts = 2 * catalogue.widest_layer();
  const std::size_t most = experts * catalogue.most_parts();
  noted_.reserve(experts * std::max<std::size_t>(6, catalogue.most_parts()));  // a part is one read
  loads_.reserve(most);
  free_loads_.reserve(most);
  noted_loads_.reserve(most);
}

SlotLayout ExpertLoader::layout(CacheKey key) const {
  const ExpertRanges& ranges = ranges_of(key);
  std::array<std::size_t, 6> alignments;
  for (std::size_t i = 0; i < 6; ++i) alignments[i] = files_[ranges[i].file].alignment;
  return layout_slot(ranges, alignments);
}

std::size_t ExpertLoader::slot_bytes(CacheKey key) const {
  return std::max(layout(key).bytes, relaid_bytes_of(layer_of(key)));
}

ExpertWeights ExpertLoader::weights(CacheKey key, std::span<const std::byte* const> slots) const {
  const ExpertLayer& layer = layer_of(key);
  std::array<std::size_t, 6> at{};
  if (layer.relaid()) {
    std::copy_n(relaid_places(layer).begin(), 3, at.begin());
  } else {
    at = layout(key).slices;
  }
  // In their slots, of experts in parts: all three matrices have groups in each.
  std::array<const std::byte*, kMostNestedGroups> parts{};
  for (std::size_t part = 0; part < slots.size() && !layer.widths.empty(); ++part) {
    key.plane_group = static_cast<std::uint16_t>(part);
    parts[part] = slots[part] + layout(key).slices[0];
  }
  const auto matrix = [&](std::size_t i) {
    WeightMatrix made = layer.views[i].at(slots[0] + at[i], slots[0] + at[i + 3]);
    if (!layer.widths.empty()) {
      place_groups(layer, std::span(parts).first(slots.size()), made);
    } else if (layer.planes()) {
      made.nested.width = layer.width_there(key.expert, i);
    }
    return made;
  };
  return {matrix(0), matrix(1), matrix(2)};
}

/// `parts`: where each begins.
void ExpertLoader::place_groups(const ExpertLayer& layer, std::span<const std::byte* const> parts,
                                WeightMatrix& matrix) const {
  NestedView& nested = matrix.nested;
  nested.width = std::min(layer.widths[parts.size() - 1], nested.form->bits);
  for (std::size_t group = 1; nested.form->width(group) < nested.width; ++group) {
    const std::size_t part = layer.parts_of(nested.form->width(group + 1)) - 1;
    nested.at[group] += parts[part] - matrix.data;
  }
}

void ExpertLoader::add(CacheKey key, std::byte* slot) {
  std::uint32_t load = 0;
  if (free_loads_.empty()) {
    load = static_cast<std::uint32_t>(loads_.size());
    loads_.emplace_back();
  } else {
    load = free_loads_.back();
    free_loads_.pop_back();
  }
  const SlotLayout where = layout(key);
  loads_[load] = {key, slot, where.read_count, 0, {}};
  noted_loads_.push_back(load);
  for (std::size_t i = 0; i < where.read_count; ++i) {
    const SlotRead& read = where.reads[i];
    noted_.push_back({files_[read.file].index, read.offset, read.bytes, read.needed,
                      slot + read.slot_offset, load * kReadsPerLoad + i});
  }
}

Status ExpertLoader::submit() {
  Status status;
  if (!noted_.empty()) status = reader_->submit(noted_);
  if (status.ok()) {
    if (under_way_ == 0) {
      busy_since_ = clock_();
      finished_since_ = 0;
    }
    under_way_ += noted_loads_.size();
  } else {
    for (const std::uint32_t load : noted_loads_) {
      loads_[load].reads_left = 0;
      free_loads_.push_back(load);
    }
  }
  noted_loads_.clear();
  noted_.clear();
  return status;
}

void ExpertLoader::reap(std::vector<FinishedLoad>& finished, bool wait) {
  if (under_way_ == 0) return;
  const std::size_t first = finished.size();
  collect(finished, /*wait=*/false);
  const bool waits = wait && finished.size() == first;
  if (waits) collect(finished, /*wait=*/true);
  time(std::span(finished).subspan(first), waits);
}

/// Whoever waited knows when they came in.
void ExpertLoader::time(std::span<FinishedLoad> finished, bool waited) {
  if (finished.empty()) return;
  finished_since_ += finished.size();
  if (!waited) {
    if (under_way_ == 0) busy_since_.reset();
    return;
  }
  const double now = clock_();
  if (busy_since_) {
    const double seconds = (now - *busy_since_) / static_cast<double>(finished_since_);
    for (FinishedLoad& load : finished) load.seconds = seconds;
  }
  busy_since_ = now;
  finished_since_ = 0;
}

void ExpertLoader::collect(std::vector<FinishedLoad>& finished, bool wait) {
  std::size_t count = reader_->reap(completions_, wait);
  if (count == 0 && wait) {
    // Nothing is under way in the reader, so nothing will write: give up what it lost rather than
    // wait for ever.
    for (std::size_t load = 0; load < loads_.size(); ++load) {
      if (loads_[load].reads_left == 0) continue;
      loads_[load].status = Status(ErrorCode::kInternal,
                                   describe(loads_[load].key, layout(loads_[load].key).reads[0]) +
                                       ": the reader delivered no completion");
      finish(load, finished);
    }
    return;
  }
  while (count > 0) {
    for (std::size_t i = 0; i < count; ++i) complete(completions_[i], finished);
    if (count < completions_.size()) return;
    count = reader_->reap(completions_, false);
  }
}

void ExpertLoader::complete(ReadCompletion& completion, std::vector<FinishedLoad>& finished) {
  const std::size_t index = completion.tag / kReadsPerLoad;
  if (index >= loads_.size() || loads_[index].reads_left == 0) return;  // not one of ours
  Load& load = loads_[index];
  const SlotRead read = layout(load.key).reads[completion.tag % kReadsPerLoad];
  if (completion.status.ok()) {
    // A file's last sector is seldom whole.
    const std::uint64_t there = files_[read.file].size - read.offset;
    load.bytes += std::min<std::uint64_t>(read.bytes, there);
  } else if (load.status.ok()) {
    load.status = completion.status.with_context(describe(load.key, read));
  }
  load.reads_left -= 1;
  if (load.reads_left == 0) finish(index, finished);
}

void ExpertLoader::finish(std::size_t load, std::vector<FinishedLoad>& finished) {
  Load& done = loads_[load];
  done.reads_left = 0;
  finished.push_back({done.key, done.bytes, std::move(done.status)});
  free_loads_.push_back(static_cast<std::uint32_t>(load));
  under_way_ -= 1;
}

Status ExpertLoader::check(CacheKey key, const std::byte* slot) const {
  const ExpertLayer& layer = layer_of(key);
  if (layer.blocks.empty()) return {};
  const SlotRead read = layout(key).reads[0];
  for (const CheckedBlock& block : layer.blocks[key.expert * layer.parts() + key.plane_group]) {
    const std::byte* const begin = slot + read.slot_offset + (block.offset - read.offset);
    if (checksum({begin, block.bytes}) == block.checksum) continue;
    return damaged_block(catalogue_->files()[block.file], block.offset, block.bytes)
        .with_context("layer " + std::to_string(layer.layer) + ", expert " +
                      std::to_string(key.expert));
  }
  return {};
}

// To the loader's own memory and back: a slot has no room for both.
void ExpertLoader::relay(CacheKey key, std::byte* slot, Compute& compute) {
  const ExpertLayer& layer = layer_of(key);
  const ExpertRanges& ranges = ranges_of(key);
  const SlotLayout where = layout(key);
  const std::array<std::size_t, 4> places = relaid_places(layer);
  const auto read = [&](std::size_t range) {
    return std::span<const std::byte>(slot + where.slices[range], ranges[range].bytes);
  };
  std::array<std::size_t, 4> items{};  // where each matrix's begin
  for (std::size_t i = 0; i < 3; ++i) {
    items[i + 1] = items[i] + (layer.views[i].matrix.rows + kRelayRows - 1) / kRelayRows;
  }
  const auto relay_item = [&](std::size_t item) {
    const std::size_t i = item < items[1] ? 0 : item < items[2] ? 1 : 2;
    const WeightMatrix& matrix = layer.views[i].matrix;
    const std::size_t first = (item - items[i]) * kRelayRows;
    const std::size_t rows = std::min(kRelayRows, matrix.rows - first);
    std::byte* const out = relaid_.data() + places[i] + first * matrix.row_bytes();
    if (layer.stored[i]) {
      relay_rows(*layer.stored[i], read(i), read(i + 3), first, rows, out);
    } else {
      std::copy_n(read(i).data() + first * matrix.row_bytes(), rows * matrix.row_bytes(), out);
    }
  };
  const auto copy_item = [&](std::size_t item) {
    const std::size_t first = item * kCopyBytes;
    std::copy_n(relaid_.data() + first, std::min(kCopyBytes, places[3] - first), slot + first);
  };
  // By reference, so that nothing is allocated.
  compute.share_out(items[3], std::ref(relay_item));
  compute.share_out((places[3] + kCopyBytes - 1) / kCopyBytes, std::ref(copy_item));
}

std::string ExpertLoader::describe(CacheKey key, const SlotRead& read) const {
  return "layer " + std::to_string(layer_of(key).layer) + ", expert " + std::to_string(key.expert) +
         ": " + std::to_string(read.bytes) + " bytes of " + catalogue_->files()[read.file] +
         " at offset " + std::to_string(read.offset);
}

}  // namespace sluice

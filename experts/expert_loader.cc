#include "experts/expert_loader.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sluice {
namespace {
constexpr std::size_t kReapedAtOnce = 64;
}  // namespace

Result<ExpertLoader> ExpertLoader::create(const ExpertCatalogue& catalogue, BlockReader& reader,
                                          std::vector<FileIndex> indices) {
  std::vector<File> files(catalogue.files().size());
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (const auto& ranges : layer.ranges) {
      for (const FileRange& range : ranges) {
        File& file = files[range.file];
        if (file.size != 0) continue;  // known already; a file that holds experts is not empty
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
  return ExpertLoader(catalogue, reader, std::move(files));
}

ExpertLoader::ExpertLoader(const ExpertCatalogue& catalogue, BlockReader& reader,
                           std::vector<File> files)
    : catalogue_(&catalogue),
      reader_(&reader),
      files_(std::move(files)),
      completions_(kReapedAtOnce) {
  // A visit may want every expert of a layer: with this, no later one allocates.
  std::size_t most = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    most = std::max<std::size_t>(most, layer.experts);
  }
  noted_.reserve(most * 3);
  loads_.reserve(most);
  free_loads_.reserve(most);
  noted_loads_.reserve(most);
}

SlotLayout ExpertLoader::layout(CacheKey key) const {
  const std::array<FileRange, 3>& ranges = layer_of(key).ranges[key.expert];
  return layout_slot(ranges, {files_[ranges[0].file].alignment, files_[ranges[1].file].alignment,
                              files_[ranges[2].file].alignment});
}

ExpertWeights ExpertLoader::weights(CacheKey key, const std::byte* slot) const {
  const ExpertLayer& layer = layer_of(key);
  const SlotLayout where = layout(key);
  return {{layer.formats[0], slot + where.slices[0], layer.ffn, layer.hidden},
          {layer.formats[1], slot + where.slices[1], layer.ffn, layer.hidden},
          {layer.formats[2], slot + where.slices[2], layer.hidden, layer.ffn}};
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
  loads_[load] = {key, where.read_count, {}};
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
    bytes_read_ += std::min<std::uint64_t>(read.bytes, there);
  } else if (load.status.ok()) {
    load.status = completion.status.with_context(describe(load.key, read));
  }
  load.reads_left -= 1;
  if (load.reads_left == 0) finish(index, finished);
}

void ExpertLoader::finish(std::size_t load, std::vector<FinishedLoad>& finished) {
  loads_[load].reads_left = 0;
  finished.push_back({loads_[load].key, std::move(loads_[load].status)});
  free_loads_.push_back(static_cast<std::uint32_t>(load));
  under_way_ -= 1;
}

std::string ExpertLoader::describe(CacheKey key, const SlotRead& read) const {
  return "layer " + std::to_string(layer_of(key).layer) + ", expert " + std::to_string(key.expert) +
         ": " + std::to_string(read.bytes) + " bytes of " + catalogue_->files()[read.file] +
         " at offset " + std::to_string(read.offset);
}

}  // namespace sluice

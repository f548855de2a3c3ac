#include "experts/expert_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "experts/cached_expert_store.h"

namespace sluice {
namespace {

/// The reader's index of every file that holds experts.
Result<std::vector<FileIndex>> open_files(const ExpertCatalogue& catalogue, BlockReader& reader) {
  std::vector<FileIndex> files(catalogue.files().size());
  std::vector<bool> opened(files.size());
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (const auto& ranges : layer.ranges) {
      for (const FileRange& range : ranges) {
        if (range.bytes == 0 || opened[range.file]) continue;
        SLUICE_ASSIGN(files[range.file], reader.open(catalogue.files()[range.file]));
        opened[range.file] = true;
      }
    }
  }
  return files;
}

std::size_t bound_of(const ExpertLayer& layer, std::uint32_t expert) {
  std::size_t bytes = 0;
  for (std::size_t part = 0; part < layer.parts(); ++part) {
    bytes += ExtentArena::rounded(ExpertLoader::slot_bytes_bound(layer, expert, part));
  }
  return bytes;
}

}  // namespace

ExpertStatistics& ExpertStatistics::operator+=(const ExpertStatistics& other) {
  requests += other.requests;
  hits += other.hits;
  loads += other.loads;
  expected += other.expected;
  expected_rightly += other.expected_rightly;
  late += other.late;
  wasted += other.wasted;
  warmed += other.warmed;
  bytes_read += other.bytes_read;
  wait_nanoseconds += other.wait_nanoseconds;
  return *this;
}

ExpertStatistics ExpertStatistics::operator-(const ExpertStatistics& before) const {
  return {.requests = requests - before.requests,
          .hits = hits - before.hits,
          .loads = loads - before.loads,
          .expected = expected - before.expected,
          .expected_rightly = expected_rightly - before.expected_rightly,
          .late = late - before.late,
          .wasted = wasted - before.wasted,
          .warmed = warmed - before.warmed,
          .bytes_read = bytes_read - before.bytes_read,
          .wait_nanoseconds = wait_nanoseconds - before.wait_nanoseconds};
}

ExpertStatistics ExpertStore::statistics() const {
  ExpertStatistics sum;
  for (const ExpertStatistics& layer : layer_statistics()) sum += layer;
  return sum;
}

std::size_t ExpertStore::minimum_capacity(const ExpertCatalogue& catalogue, const BlockReader&,
                                          std::size_t top_k) {
  std::size_t least = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    std::size_t widest = 0;
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      widest = std::max(widest, bound_of(layer, expert));
    }
    const std::size_t at_once = std::clamp<std::size_t>(top_k, 1, layer.experts);
    least = std::max(least, 2 * at_once * widest);
  }
  return least + ExpertLoader::own_bytes(catalogue);
}

std::size_t ExpertStore::full_capacity(const ExpertCatalogue& catalogue, const BlockReader&) {
  std::size_t full = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      full += bound_of(layer, expert);
    }
  }
  return full + ExpertLoader::own_bytes(catalogue);
}

Result<std::unique_ptr<ExpertStore>> ExpertStore::create(const ExpertCatalogue& catalogue,
                                                         BlockReader& reader,
                                                         const ExpertStoreOptions& options) {
  std::vector<FileIndex> files = options.files;
  if (files.empty()) {
    SLUICE_ASSIGN(files, open_files(catalogue, reader));
  } else if (files.size() != catalogue.files().size()) {
    return Status(ErrorCode::kInvalidArgument, "the reader's files are not the catalogue's");
  }
  SLUICE_ASSIGN(ExpertLoader loader,
                ExpertLoader::create(catalogue, reader, std::move(files), options.clock));

  std::vector<std::uint32_t> experts;
  std::size_t widest = 0, widest_part = 0, all = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      std::size_t whole = 0;
      for (std::size_t part = 0; part < layer.parts(); ++part) {
        const CacheKey key{static_cast<std::uint32_t>(experts.size()),
                           static_cast<std::uint16_t>(expert), static_cast<std::uint16_t>(part)};
        const std::size_t slot = ExtentArena::rounded(loader.slot_bytes(key));
        widest_part = std::max(widest_part, slot);
        whole += slot;
      }
      widest = std::max(widest, whole);
      all += whole;
    }
    experts.push_back(layer.experts);
  }
  const std::size_t own = ExpertLoader::own_bytes(catalogue);
  const std::size_t capacity =
      std::min((options.capacity_bytes - std::min(options.capacity_bytes, own)) /
                   ExtentArena::kGranularity * ExtentArena::kGranularity,
               all);
  if (capacity < widest) {
    return Status(ErrorCode::kBudget, "a cache of " + std::to_string(options.capacity_bytes) +
                                          " bytes holds no expert: the widest needs " +
                                          std::to_string(widest));
  }
  CacheShape shape(experts, static_cast<std::uint32_t>(catalogue.most_parts()));
  SLUICE_ASSIGN(std::unique_ptr<CachePolicy> policy, make_cache_policy(options.policy, shape));
  SLUICE_ASSIGN(AlignedBuffer memory, AlignedBuffer::allocate(capacity));
  if (memory.size() > 0) memory.prefer_huge_pages();
  return std::unique_ptr<ExpertStore>(std::make_unique<CachedExpertStore>(
      catalogue, reader, std::move(loader), std::move(memory), capacity, widest_part,
      std::move(shape), std::move(policy), options));
}

}  // namespace sluice

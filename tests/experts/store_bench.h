#pragma once
// A store over a checkpoint in memory, and the loop that the engine runs over it, with every byte
// checked.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "experts/expert_catalogue.h"
#include "experts/expert_store.h"
#include "tests/experts/fake_checkpoint.h"
#include "tests/experts/fake_device.h"
#include "tests/experts/memory_reader.h"

namespace sluice::test {

/// Byte for byte what the file holds, or what the device made of it?
inline bool same_bytes(const WeightMatrix& matrix, const FileRange& range,
                       const std::vector<std::vector<std::byte>>& files) {
  if (matrix.bytes() != range.bytes) return false;
  const std::byte* const stored = files[range.file].data() + range.offset;
  if (matrix.layout == WeightLayout::kRows) {
    return std::memcmp(matrix.data, stored, range.bytes) == 0;
  }
  return std::equal(matrix.data, matrix.data + range.bytes, stored,
                    [](std::byte turned, std::byte byte) { return turned == ~byte; });
}

struct StoreBench {
  std::shared_ptr<const FakeCheckpoint> owned;
  const FakeCheckpoint& fake;
  ExpertCatalogue catalogue;
  std::unique_ptr<MemoryReader> reader;
  std::unique_ptr<ExpertStore> store;
  FakeDevice device;
  std::set<std::pair<std::uint32_t, std::uint32_t>>
      read_ahead;  // if at all: expected, not yet wanted

  StoreBench(const std::vector<FakeLayer>& layers, Placement placement, std::size_t alignment,
             std::size_t capacity)
      : StoreBench(std::make_shared<FakeCheckpoint>(make_checkpoint(layers, placement)), alignment,
                   capacity) {}

  StoreBench(std::shared_ptr<const FakeCheckpoint> shared, std::size_t alignment,
             std::size_t capacity, const std::string& policy = "auto", unsigned seed = 1)
      : owned(std::move(shared)),
        fake(*owned),
        catalogue(ExpertCatalogue::build(fake.checkpoint).value()),
        reader(std::make_unique<MemoryReader>(fake.checkpoint.files, fake.files, alignment, seed)) {
    auto created = ExpertStore::create(
        catalogue, *reader,
        {.capacity_bytes = capacity, .policy = policy, .files = {}, .judge_guesses = false});
    EXPECT_TRUE(created.ok()) << created.status().message();
    if (created.ok()) store = std::move(created).value();
  }

  /// The file's bytes, rearranged exactly if the expert `returned` and the device has a better
  /// order.
  bool right(std::uint32_t layer, std::uint32_t expert, const ExpertWeights& weights,
             bool returned = false) const {
    for (const WeightMatrix* matrix : {&weights.gate, &weights.up, &weights.down}) {
      const bool turned = matrix->layout == WeightLayout::kStrips;
      if (turned != (returned && FakeDevice::repacks(*matrix))) return false;
    }
    const auto& ranges = catalogue.find(layer)->ranges[expert];
    return same_bytes(weights.gate, ranges[0], fake.files) &&
           same_bytes(weights.up, ranges[1], fake.files) &&
           same_bytes(weights.down, ranges[2], fake.files);
  }

  static std::vector<LikelyExpert> surely(const std::vector<std::uint32_t>& experts) {
    std::vector<LikelyExpert> likely;
    for (const std::uint32_t expert : experts) likely.push_back({expert, 1});
    return likely;
  }

  Status begin(std::uint32_t layer, const std::vector<std::uint32_t>& experts,
               std::uint32_t next_layer, const std::vector<std::uint32_t>& likely,
               Reach reach = Reach::kGap) {
    std::erase_if(read_ahead, [layer](const auto& expected) { return expected.first == layer; });
    if (Status status = store->begin(layer, experts); !status.ok()) return status;
    if (!likely.empty()) store->expect(next_layer, surely(likely), reach);
    for (const std::uint32_t expert : likely) {
      if (!store->resident({next_layer, expert})) read_ahead.insert({next_layer, expert});
    }
    return {};
  }

  /// One visit as the engine makes it, that expects `likely` of `next_layer`. Every index must come
  /// exactly once, with the right bytes, also just before release.
  Status visit(std::uint32_t layer, const std::vector<std::uint32_t>& experts,
               std::uint32_t next_layer = 0, const std::vector<std::uint32_t>& likely = {},
               Reach reach = Reach::kGap) {
    std::vector<bool> returned;
    for (const std::uint32_t expert : experts) {
      returned.push_back(!read_ahead.contains({layer, expert}));
    }
    if (Status status = begin(layer, experts, next_layer, likely, reach); !status.ok())
      return status;
    for (std::size_t i = 0; i < experts.size(); ++i) {  // what came in time is in memory only now
      returned[i] = returned[i] && store->resident({layer, experts[i]});
    }
    std::vector<int> seen(experts.size());
    Status status;
    while (status.ok()) {
      const auto ready = store->ready();
      if (!ready.ok()) {
        status = ready.status();
        break;
      }
      if (ready->empty()) break;
      const std::vector<std::uint32_t> group(ready->begin(), ready->end());
      status = store->prepare(group, device);
      if (!status.ok()) break;
      for (const std::uint32_t index : group) {
        seen[index] += 1;
        EXPECT_TRUE(right(layer, experts[index], store->weights(index), returned[index]))
            << "layer " << layer << " expert " << experts[index];
      }
      status = store->release(group);
    }
    store->end();
    if (store->statistics().expected == 0 && store->statistics().warmed == 0) {
      EXPECT_EQ(reader->under_way(), 0u);
    }
    if (status.ok()) {
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), std::ssize(seen));
    }
    return status;
  }

  /// Bytes of the sectors that hold an expert, each counted once, cut at the file's end.
  std::uint64_t sector_bytes(std::uint32_t layer, std::uint32_t expert) const {
    const std::size_t alignment = reader->alignment(0);
    if (alignment == 1) return catalogue.find(layer)->expert_bytes();
    std::set<std::pair<std::uint32_t, std::uint64_t>> sectors;
    for (const FileRange& range : catalogue.find(layer)->ranges[expert]) {
      for (std::uint64_t at = range.offset / alignment * alignment; at < range.offset + range.bytes;
           at += alignment) {
        sectors.insert({range.file, at});
      }
    }
    std::uint64_t bytes = 0;
    for (const auto& [file, at] : sectors)
      bytes += std::min<std::uint64_t>(alignment, fake.files[file].size() - at);
    return bytes;
  }
};

inline std::vector<std::uint32_t> all_experts(std::uint32_t count) {
  std::vector<std::uint32_t> experts(count);
  std::iota(experts.begin(), experts.end(), 0u);
  return experts;
}

}  // namespace sluice::test

#pragma once
// Makes an expert's groups of planes (base/nested_planes.h) of the bytes that the source has of it:
// floats are fitted, a source's integers keep their numbers.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/imatrix.h"
#include "formats/store_format.h"
#include "io/block_reader.h"

namespace sluice {

/// Borrows everything. One thread at a time; it has threads of its own, one for each processor.
class NestedMaker {
 public:
  /// `files`: the reader's index of each of the plan's files. `importance`: of the columns; null:
  /// all count alike, as where it does not tell of a matrix.
  NestedMaker(const StorePlan& plan, BlockReader& reader, std::span<const FileIndex> files,
              const ImportanceMatrix* importance)
      : plan_(plan), reader_(reader), files_(files), importance_(importance) {}

  /// The groups of plan.nested[first …], one after the other, into `out` `[count][layer's bytes]`.
  /// Errors name tensor and expert; kCancelled.
  Status make(std::size_t first, std::span<const std::span<std::byte>> out,
              const std::atomic<bool>* cancel);

 private:
  /// One matrix of one expert.
  struct Work {
    const StoreNestedExpert* expert = nullptr;
    std::size_t matrix = 0;
    std::vector<std::byte> source, scales;
    std::byte* out = nullptr;  // where the expert's first group begins
  };
  Status make_planes(const Work& work) const;
  Status read_importance(std::uint32_t layer);

  const StorePlan& plan_;
  BlockReader& reader_;
  const std::span<const FileIndex> files_;
  const ImportanceMatrix* const importance_;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::uint32_t importance_of_ = kNone;  // layer
  Importance columns_[3];                // of its matrices
};

}  // namespace sluice

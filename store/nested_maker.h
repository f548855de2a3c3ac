#pragma once
// Makes an expert's groups of planes (base/nested_planes.h) of the bytes that the source has of it:
// floats are fitted, a source's integers keep their numbers, and planes are there already.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "formats/imatrix.h"
#include "formats/store_format.h"
#include "io/block_reader.h"
#include "io/read_range.h"
#include "store/nested_errors.h"

namespace sluice {

/// Of an expert's gate, up and down.
using ExpertErrors = std::array<NestedErrors, 3>;

/// Borrows everything. One thread at a time; it has threads of its own, one for each processor.
class NestedMaker {
 public:
  /// `files`: the reader's index of each of the plan's files. `importance`: of the columns; null:
  /// all count alike, as where it does not tell of a matrix.
  NestedMaker(const StorePlan& plan, BlockReader& reader, std::span<const FileIndex> files,
              const ImportanceMatrix* importance)
      : plan_(plan), reader_(reader), files_(files), importance_(importance) {}

  /// The groups of plan.nested[first …], one after the other, into `out` `[count][its bytes]`.
  /// Errors name tensor and expert, or what is damaged of the source; kCancelled.
  Status make(std::size_t first, std::span<const std::span<std::byte>> out,
              const std::atomic<bool>* cancel);

  /// Of plan.nested[first …], how much they err with fewer groups than the plan has. All of the
  /// source's bytes are read, and held together. Errors as above.
  Status measure(std::size_t first, std::span<ExpertErrors> out, const std::atomic<bool>* cancel);

 private:
  /// One matrix of one expert.
  struct Work {
    const StoreNestedExpert* expert = nullptr;
    std::size_t matrix = 0;
    std::size_t index = 0;  // of the call's experts
    std::vector<std::byte> source, scales;
  };
  using Use = std::function<Status(const Work&)>;
  using SourceReads = std::vector<std::pair<FileRange, std::span<std::byte>>>;

  const StoreNestedLayer& layer_of(const StoreNestedExpert& expert) const {
    return plan_.nested_layers[expert.layer];
  }
  std::size_t of_one_layer(std::size_t first, std::size_t most) const;
  /// All at once; what the source has checksums of is checked.
  Status read(const SourceReads& reads, const std::atomic<bool>* cancel);
  std::span<const float> importance_of(const Work& work) const;
  Status read_importance(std::uint32_t layer);
  Status copy_planes(std::size_t first, std::span<const std::span<std::byte>> out,
                     const std::atomic<bool>* cancel);
  /// `count` experts of one layer, `done` behind the call's first.
  Status each_matrix(std::size_t first, std::size_t count, std::size_t done, const Use& use,
                     const std::atomic<bool>* cancel);
  Status make_planes(const Work& work, std::byte* out) const;
  Result<NestedErrors> errors_of(const Work& work) const;

  const StorePlan& plan_;
  BlockReader& reader_;
  const std::span<const FileIndex> files_;
  const ImportanceMatrix* const importance_;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::uint32_t importance_of_ = kNone;  // layer
  Importance columns_[3];                // of its matrices
};

}  // namespace sluice

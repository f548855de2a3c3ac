#pragma once
// What a store's blocks will hold, read from the source: copies where the plan says so, zeros
// between them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "formats/store_format.h"
#include "io/block_reader.h"
#include "io/read_range.h"

namespace sluice {

/// Borrows the plan and the reader, which nobody else may use meanwhile. One thread at a time.
class PlanReader {
 public:
  /// Opens the source's files. kNotFound, kIo.
  static Result<PlanReader> open(const StorePlan& plan, BlockReader& reader);

  /// The store's bytes [offset, offset + out.size()), all of them between the head and the table.
  /// Errors as read_ranges has them: a source that ends too early is named with the offset.
  Status read(std::uint64_t offset, std::span<std::byte> out, const std::atomic<bool>* cancel);

 private:
  PlanReader(const StorePlan& plan, BlockReader& reader) : plan_(&plan), reader_(&reader) {}

  const StorePlan* plan_;
  BlockReader* reader_;
  std::vector<FileIndex> files_;   // the reader's name of each of the plan's files
  std::vector<RangeRead> ranges_;  // of one call
};

}  // namespace sluice

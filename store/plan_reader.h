#pragma once
// What a store's blocks will hold, read from the source: copies and planes where the plan says so,
// zeros between them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "formats/checked_ranges.h"
#include "formats/store_format.h"
#include "io/block_reader.h"
#include "io/read_range.h"
#include "store/nested_maker.h"

namespace sluice {

/// Borrows everything; nobody else may use the reader meanwhile. One thread at a time.
class PlanReader {
 public:
  /// Opens the source's files. `importance`: see NestedMaker. kNotFound, kIo.
  static Result<PlanReader> open(const StorePlan& plan, BlockReader& reader,
                                 const ImportanceMatrix* importance);

  /// The store's bytes [offset, offset + out.size()), all of them between the head and the table.
  /// Where the source keeps checksums, what is read of it is checked. Calls go on where the last
  /// one ended, beginning with a block; to begin anew after an error takes another reader. Errors
  /// as read_ranges has them: a source that ends too early is named with the offset; kCorrupt: what
  /// is damaged, and where.
  Status read(std::uint64_t offset, std::span<std::byte> out, const std::atomic<bool>* cancel);

 private:
  /// An expert's groups, kept while chunks need them.
  struct Made {
    std::size_t expert = 0;  // index into the plan's
    std::vector<std::byte> bytes;
  };
  PlanReader(const StorePlan& plan, BlockReader& reader, const ImportanceMatrix* importance)
      : plan_(&plan), reader_(&reader), importance_(importance) {}
  std::uint64_t end_of(const StoreNestedExpert& expert) const { return expert.to + expert.bytes; }
  Status read_copies(std::uint64_t offset, std::span<std::byte> out,
                     const std::atomic<bool>* cancel);
  Status make_planes(std::uint64_t offset, std::span<std::byte> out,
                     const std::atomic<bool>* cancel);

  const StorePlan* plan_;
  BlockReader* reader_;
  const ImportanceMatrix* importance_;
  std::vector<FileIndex> files_;   // the reader's name of each of the plan's files
  std::vector<RangeRead> ranges_;  // of one call
  std::optional<CheckedRanges> check_;
  std::vector<Made> made_;            // of the last call, ascending
  std::optional<NestedMaker> maker_;  // once there is something to make: it knows a layer's columns
};

}  // namespace sluice

#pragma once
// Writes an importance matrix (imatrix.h) a tensor at a time: those of a large model together need
// not fit into memory.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice {

class ImportanceWriter {
 public:
  using Sink = std::function<Status(std::span<const std::byte> bytes)>;
  struct Entry {
    std::string tensor;  // the model's: "blk.0.ffn_gate_exps.weight"
    std::uint64_t experts = 1;
    std::uint64_t columns = 0;
  };
  /// What the importances were found on.
  struct Text {
    std::string name;
    std::uint32_t chunks = 0;      // parts that the model read
    std::uint32_t chunk_size = 0;  // their tokens
  };

  /// `sink` takes the file's bytes in their order; its errors are the calls'.
  explicit ImportanceWriter(Sink sink) : sink_(std::move(sink)) {}
  /// The header. One call of `add` is due for each entry, in this order.
  Status begin(std::span<const Entry> entries, const Text& text);
  /// `sums` of squares [experts, columns] over `counts` [experts] rows. kCorrupt where one is not a
  /// finite float32. REQUIRES: the extents of the entry whose turn it is.
  Status add(std::span<const double> sums, std::span<const std::uint64_t> counts);

 private:
  Status write(std::string_view bytes);
  Status pad();

  Sink sink_;
  std::vector<Entry> entries_;
  std::size_t added_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace sluice

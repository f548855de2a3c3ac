#pragma once
// The store (.slc): a checkpoint rearranged. The same settings, the same tokenizer, the same bytes
// of every tensor, at other places: whatever is read together lies together, in blocks that begin
// where a disk's sectors do. docs/store.md defines every byte.
//
//     0           header, 4 KiB
//     4096        index: everything but weights, CBOR; zeros up to the next 4 KiB
//     …           blocks, each at a multiple of 4 KiB, zeros between them
//     the end     table: a checksum of every block, and one of the table
//
// A block is a tensor that stays in memory, or all of one expert, or one group of an expert's
// planes (base/nested_planes.h). All places follow from the source's own header, so a plan is
// everything about a store but its weights: whoever writes one copies or nests them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/nested_planes.h"
#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

inline constexpr std::uint64_t kStoreBlockAlignment = 4096;
/// Of what lies in a block: a cache line.
inline constexpr std::uint64_t kStoreRangeAlignment = 64;

struct StoreBlock {
  std::uint64_t offset = 0;  // in the store
  std::uint64_t bytes = 0;   // without the padding behind it
};

/// Verbatim: a range of the source to an offset in the store.
struct StoreCopy {
  FileRange from;
  std::uint64_t to = 0;
};

/// A layer whose experts become planes, or are planes: gate, up and down as the source has them,
/// and where their groups lie from where an expert's first one does.
struct StoreNestedLayer {
  std::array<TensorInfo, 3> tensors;
  std::array<const NestedForm*, 3> forms{};
  std::array<std::array<std::uint64_t, kMostNestedGroups>, 3> at{};
};

/// The groups of planes of one expert, up to its resting width.
struct StoreNestedExpert {
  std::uint32_t layer = 0;   // index into StorePlan::nested_layers
  std::uint32_t expert = 0;  // of the layer
  std::uint8_t width = 0;    // bits of a weight
  std::uint64_t to = 0;      // in the store
  std::uint64_t bytes = 0;   // of all groups, gaps included
};

/// Layers of experts that do not become planes.
struct StoreLeftLayers {
  std::size_t unasked = 0;  // nobody wanted it
  std::size_t unfit = 0;    // a matrix has no form, or its rows are not whole blocks …
  TensorInfo first_unfit;   // … as this one
};

struct StorePlan {
  std::vector<std::string> files;  // of the source, as StoreCopy::from counts them
  /// Of a source that keeps checksums its files, tensors and blocks, for what is read to be checked
  /// by; else nothing.
  Checkpoint checked;
  std::vector<std::byte> head;     // header and index, padded: the file up to the first block
  std::vector<StoreBlock> blocks;  // ascending; nothing but padding between them
  /// Ascending by `to`, each inside one block. With the planes they fill the blocks but for gaps of
  /// less than kStoreRangeAlignment, which are zero.
  std::vector<StoreCopy> copies;
  std::vector<StoreNestedLayer> nested_layers;
  StoreLeftLayers left_layers;
  std::vector<StoreNestedExpert> nested;  // ascending by `to`
  std::uint64_t table_offset = 0;         // zeros between the last block and it
  std::uint64_t file_bytes = 0;
};

/// What becomes of experts.
struct StoreChoice {
  /// Whether a layer's experts become planes, where they can: all three matrices are floats or
  /// integers that have a form, in rows of whole blocks. By the name of its gate. Empty: none do.
  std::function<bool(const std::string& tensor)> nest = {};
  /// The resting width of each expert of a layer that becomes planes, in bits: groups beyond it are
  /// left out. Layers that are not here have all.
  std::map<std::uint32_t, std::vector<std::uint8_t>> widths = {};
  bool keep_floats = true;  // those that become planes are there as they were, too
};

/// Pure, and deterministic: the same source gives the same bytes. What is in planes stays in
/// planes, whether it was to become some or not. kUnsupported where the source has a tensor that
/// this build cannot read; kInvalidArgument where it was opened without tensors.
Result<StorePlan> plan_store(const Checkpoint& source, const StoreChoice& choice = {});

/// The checkpoint that the plan's store will be in a file of that name, but for the checksums of
/// its blocks.
Result<Checkpoint> planned_checkpoint(const StorePlan& plan, const std::string& path);

/// The bytes at table_offset. `checksums` `[blocks]`: `checksum` of each one's bytes.
std::vector<std::byte> store_table(std::span<const std::uint64_t> checksums);

/// Whether a file's first eight bytes are a store's, whatever its name; false where it cannot be
/// read.
bool is_store(const std::string& path);

/// Every field is checked before it is used: kCorrupt names it and what to do; kUnsupported: a
/// newer version wrote the store.
Result<Checkpoint> open_store(const std::string& path, CheckpointParts parts);

}  // namespace sluice

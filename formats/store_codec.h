#pragma once
// A checkpoint as the index of a store and back. Offsets in an index count from the first block;
// docs/store.md names every field.

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "formats/store_format.h"

namespace sluice {

struct StoreIndex {
  Checkpoint checkpoint;  // all ranges in file 0; no files, no blocks
  std::vector<StoreBlock> blocks;
};

/// CBOR, of definite lengths, with keys in order: one checkpoint has one encoding.
std::vector<std::byte> encode_store_index(const StoreIndex& index);

/// kCorrupt names the field that is not as it should be, kUnsupported a word that this version does
/// not know. Blocks lie within `block_bytes`, ascending and apart; every range lies in a block, and
/// tensors' ranges hold what their types, shapes and layouts ask for. Without tensors and blocks
/// for kTokenizerOnly.
Result<StoreIndex> decode_store_index(std::span<const std::byte> index, std::uint64_t block_bytes,
                                      CheckpointParts parts);

}  // namespace sluice

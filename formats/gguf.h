#pragma once
// GGUF files, versions 2 and 3, little-endian, single or split.
//
//   "GGUF" | version u32 | tensor count u64 | key-value count u64
//   key-values:  key text | kind u32 | value             (text: length u64, bytes)
//   tensors:     name text | dimensions u32 | extents u64 each, innermost first
//                | format u32 | offset u64
//   padding to general.alignment, then the data; offsets count from there
//
// A split set "name-00001-of-00003.gguf" … repeats this in every file; the first one holds the
// key-values.

#include <string>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

/// `path`: the file, or the first of a split set.
Result<Checkpoint> open_gguf(const std::string& path, CheckpointParts parts);

}  // namespace sluice

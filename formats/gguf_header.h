#pragma once
// What stands in a GGUF file before the data, whatever the file is of: its header, and the entries
// of its tensors behind the key-values (gguf_metadata.h).

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/gguf_metadata.h"
#include "formats/header_reader.h"
#include "formats/tensor_info.h"

namespace sluice {

inline constexpr std::uint32_t kGgufMagic = 0x46554747;  // "GGUF"

struct GgufHeader {
  std::uint32_t version = 0;
  std::uint64_t tensor_count = 0;
  std::uint64_t pair_count = 0;
};

/// From the file's beginning. Both counts fit into the file.
Result<GgufHeader> read_gguf_header(HeaderReader& reader);

struct GgufEntry {
  TensorInfo info;           // under the file's own name, with one range, in file 0
  std::string_view foreign;  // the format's name where our table lacks it: its range has no bytes
};

/// `count` entries from where the reader stands, behind the key-values; takes "general.alignment"
/// out of these. All ranges lie inside the file; they may overlap, and names may appear twice.
Result<std::vector<GgufEntry>> read_gguf_entries(HeaderReader& reader, std::uint64_t count,
                                                 GgufMetadata& metadata);

}  // namespace sluice

#pragma once
// safetensors files: length u64 | JSON header of that length | data.
//   {"name": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, …,
//   "__metadata__": {…}}
// Offsets count from the end of the header.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

/// A tensor under the file's own name. `foreign` is the dtype where it is not one of TensorType's:
/// info.type says nothing then, and nobody has compared the size with the shape.
struct SafetensorsTensor {
  TensorInfo info;  // one range
  std::optional<std::string> foreign;
};

/// All tensors of one file, in the header's order of names; `file` becomes the index in their
/// ranges. Empty tensors are left out.
Result<std::vector<SafetensorsTensor>> read_safetensors(const std::string& path,
                                                        std::uint32_t file);

/// All tensors of a folder: model.safetensors, or the shards that model.safetensors.index.json
/// lists. `files` receives the paths.
Result<std::vector<SafetensorsTensor>> read_safetensors_folder(const std::string& folder,
                                                               std::vector<std::string>& files);

}  // namespace sluice

#pragma once
// safetensors files: length u64 | JSON header of that length | data.
//   {"name": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, …,
//   "__metadata__": {…}}
// Offsets count from the end of the header.

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

/// A tensor under the file's own name. Where `foreign` names a dtype that this build cannot read,
/// info.type says nothing.
struct SafetensorsTensor {
  TensorInfo info;  // one range
  std::string foreign;
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

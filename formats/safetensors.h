#pragma once
// safetensors files: length u64 | JSON header of that length | data.
//   {"name": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, …,
//   "__metadata__": {…}}
// Offsets count from the end of the header.

#include <cstdint>
#include <functional>
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

/// Receives tensors one by one: a folder may have 50,000 of them. An error ends the reading, and is
/// handed on.
using TakeTensor = std::function<Status(SafetensorsTensor)>;

/// All tensors of one file, in the header's order; `file` becomes the index in their ranges. Empty
/// tensors are left out. Two of one name are the taker's to notice.
Status read_safetensors(const std::string& path, std::uint32_t file, const TakeTensor& take);

/// All tensors of a folder: model.safetensors, or the shards that model.safetensors.index.json
/// lists. `files` receives the paths.
Status read_safetensors_folder(const std::string& folder, std::vector<std::string>& files,
                               const TakeTensor& take);

}  // namespace sluice

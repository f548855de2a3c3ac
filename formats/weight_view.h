#pragma once
// Which tensors kernels multiply as their bytes lie in the file, and how.

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/operations.h"
#include "formats/tensor_info.h"

namespace sluice {

/// The matrix that each of a tensor's ranges holds.
struct WeightView {
  WeightMatrix matrix;              // without data
  std::uint64_t offset = 0;         // of its first number, in bytes of the range
  std::uint64_t scales_offset = 0;  // of its first scale, in bytes of the range's scales

  /// The matrix once the range's bytes are in memory, and those of its scales if it has any.
  WeightMatrix at(const std::byte* range, const std::byte* scales) const;
};

/// nullopt where the numbers must be re-laid before they are used (stored_layout.h). The last two
/// dimensions are the matrix. REQUIRES: two dimensions or more, a matrix to a range; a tensor with
/// a StoredLayout passed check_range.
std::optional<WeightView> weight_view(const TensorInfo& tensor);

/// The tensor's own type, row by row: what lies there if nothing is stored otherwise, and what
/// re-laying makes.
WeightView row_view(const TensorInfo& tensor);

}  // namespace sluice

#pragma once
// How much a matrix errs when it is read with fewer groups of planes than there are: what a width
// costs. Measured on some of the rows, evenly spread and the same ones every time: to fit all of
// them would take as long as to pack them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/nested_planes.h"
#include "base/status.h"
#include "formats/tensor_info.h"

namespace sluice {

/// With the first group, the first two … : the sum of the squares of what is missing, as a share of
/// that of the weights, each square times its column's importance.
using NestedErrors = std::array<double, kMostNestedGroups>;

/// A part of a matrix whose rows are all as a type has them.
struct RowsOfMatrix {
  TensorInfo tensor;  // [1, rows, columns], at no place
  std::vector<std::byte> bytes;
  std::vector<float> numbers;  // the same
};

/// Of a tensor of stacked matrices, one of which has these bytes and scales. Errors as decode_range
/// has them; kInvalidArgument: a float that is none, with its row and column.
Result<RowsOfMatrix> some_rows(const TensorInfo& tensor, std::span<const std::byte> source,
                               std::span<const std::byte> scales);

/// Of all rows of a matrix whose group i is at planes + view.at[i], up to the view's width, against
/// what they should be. `importance` `[columns]`, or empty.
NestedErrors nested_errors(const NestedView& view, std::span<const std::byte> planes,
                           const RowsOfMatrix& right, std::span<const float> importance);

/// Of some rows of planes [rows, columns], against what all bits there are make.
NestedErrors nested_errors(const NestedView& view, std::span<const std::byte> planes,
                           std::size_t rows, std::size_t columns,
                           std::span<const float> importance);

}  // namespace sluice

#pragma once
// Fits nested codes (base/nested_planes.h) to a matrix, so that what each column's inputs make of
// the errors is small at every width (docs/nesting.md, "Fitting").
//
// A fit depends on its arguments alone: the same bytes on every machine. Works in memory, on one
// matrix and thread a call; `out` and its vectors are reused.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "store/nested_matrix.h"

namespace sluice {

/// Float weights [rows, columns] → the fitted form. `importance` [columns]: the mean square of each
/// column's inputs; empty, or all zero: all alike. Any finite weights will do, but those beyond
/// 1e38 may be cut off, and a block 2^30 times smaller than the matrix's largest weight is next to
/// nothing. REQUIRES: columns is a multiple of kNestedBlock. kInvalidArgument: a weight that is not
/// finite, with its row and column; an importance that is negative or not finite.
Status fit_nested(std::span<const float> weights, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out);

/// A source's own codes [rows, columns] as the form counts them, without offsets, and the scale of
/// each group [rows, columns / form.format().group] → the form of their source: chooses tables, and
/// offsets where it has them. At full width the numbers are the source's again, whatever scales
/// there are: they only say how much a group counts. REQUIRES: columns is a multiple of form.block;
/// form is not fitted; codes are below 2^form.bits. kInvalidArgument: an importance that is
/// negative or not finite.
Status nest_codes(const NestedForm& form, std::span<const std::uint8_t> codes,
                  std::span<const float> scales, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out);

}  // namespace sluice

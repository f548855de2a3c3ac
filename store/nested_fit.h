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

/// A source's own signed codes [rows, columns], with the scale of each block
/// [rows, columns / kNestedBlock] → the form of their source: chooses offsets and tables. At full
/// width the codes are the source's again, whatever scales there are: they only say how much a
/// block counts. REQUIRES: as above; form is not fitted; codes of four bits are in -8 … 7.
/// kInvalidArgument: an importance that is negative or not finite.
Status nest_codes(const NestedForm& form, std::span<const std::int8_t> codes,
                  std::span<const float> scales, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out);

}  // namespace sluice

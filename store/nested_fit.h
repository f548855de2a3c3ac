#pragma once
// Fits nested codes (store/nested_code.h) to a matrix, so that what each column's inputs make of the
// errors is small at every width (docs/nesting.md, "Fitting").
//
// A fit depends on its arguments alone: the same bytes on every machine. Works in memory, on one
// matrix and thread a call; `out` and its vectors are reused.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "store/nested_matrix.h"

namespace sluice {

/// Float weights [rows, columns], columns a multiple of kNestedBlock → kFitted. `importance`
/// [columns]: the mean square of each column's inputs; empty, or all zero: all alike. Any finite
/// weights will do: those beyond 1e38 may be cut, blocks whose numbers are all less than 2^-38 of
/// the matrix's largest become next to nothing. kInvalidArgument: the row and column of a weight
/// that is not finite; an importance that is negative or not finite.
Status fit_nested(std::span<const float> weights, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out);

/// A source's own codes [rows, columns], signed, with the scale of each block
/// [rows, columns / kNestedBlock] → kCodes8 or kCodes4: chooses offsets and tables. At full width
/// they are the source's codes again, whatever these and the scales are.
/// REQUIRES: form is not kFitted; codes of kCodes4 are in -8 … 7. kInvalidArgument: an importance
/// that is negative or not finite.
Status nest_codes(NestedCodes form, std::span<const std::int8_t> codes,
                  std::span<const float> scales, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out);

}  // namespace sluice

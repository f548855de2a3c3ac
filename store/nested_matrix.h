#pragma once
// A matrix in nested codes (store/nested_code.h) as the fitter leaves it: plain arrays, a number for
// each weight and block. How a store packs them is not known here.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "store/nested_code.h"

namespace sluice {

struct NestedMatrix {
  NestedCodes form = NestedCodes::kFitted;
  std::size_t rows = 0;
  std::size_t columns = 0;  // a multiple of kNestedBlock
  NestedTables tables = {};
  std::uint8_t exponent_base = 1;     // of kFitted
  std::vector<std::uint8_t> codes;    // [rows, columns]
  std::vector<std::uint8_t> scales;   // [rows, columns / kNestedBlock] of kFitted, else empty
  std::vector<std::int8_t> offsets;   // [rows, columns / kNestedBlock]
};

/// The weights at a width of 2 up to the form's bits → out `[rows, columns]`. `scales` are the
/// source's own, `[rows, columns / kNestedBlock]`; of kFitted, which has its own, none.
void decode_nested(const NestedMatrix& matrix, std::span<const float> scales, unsigned width,
                   float* out);

}  // namespace sluice

#pragma once
// A matrix in nested codes (base/nested_planes.h) as the fitter leaves it: plain arrays, a number
// for each weight and block.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/nested_planes.h"

namespace sluice {

struct NestedMatrix {
  const NestedForm* form = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;  // a multiple of kNestedBlock
  NestedHeader header = {};
  std::vector<std::uint8_t> codes;   // [rows, columns]
  std::vector<std::uint8_t> scales;  // [rows, columns / kNestedBlock] of a fitted form, else empty
  std::vector<std::int8_t> offsets;  // [rows, columns / kNestedBlock], where there are any
};

}  // namespace sluice

#include "cpu/dot_kernels.h"

#include "cpu/strip_kernels.h"

namespace sluice::SLUICE_ISA {

const std::byte* turned_strip(const DotTile& tile, std::size_t first_row, std::size_t begin,
                              std::size_t elements, std::byte* turned) {
  const std::size_t rows = at_most(tile.weight_rows - first_row, kStripRows);
  const std::byte* const first = tile.weight + first_row * tile.row_bytes;
  if (tile.layout == WeightLayout::kStrips && rows == kStripRows) {
    return first + kStripRows * tile.format->bytes(begin);
  }
  const std::byte* const from = first + tile.format->bytes(begin);
  to_strip(*tile.format, from, tile.row_bytes, rows, elements / tile.format->block_elements,
           turned);
  return turned;
}

void dot(const DotTile& tile, std::byte* scratch) {
  if (tile.layout == WeightLayout::kColumns) {
    column_dot(tile, scratch);
  } else if (tile.codes != nullptr && tile.format->group != 0) {
    quantised_dot(tile, scratch);
  } else {
    float_dot(tile, scratch);
  }
}

}  // namespace sluice::SLUICE_ISA

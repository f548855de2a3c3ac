#include "cpu/dot_kernels.h"

#include "cpu/strip_kernels.h"

namespace sluice::SLUICE_ISA {

namespace {

StripPlace nested_strip(const DotTile& tile, std::size_t row, std::size_t column) {
  const NestedForm& form = *tile.nested.form;
  const std::size_t at = row / kStripRows * (tile.columns / form.block) + column / form.block;
  StripPlace place;
  place.header = reinterpret_cast<const NestedHeader*>(tile.weight);
  std::size_t width = form.groups[0];
  const std::size_t offsets = form.unit == 0 ? 0 : kStripRows / 2;
  place.block = tile.weight + sizeof(NestedHeader) +
                at * (kStripRows * (form.block / 4u + form.scale_bytes) + offsets);
  for (std::size_t group = 1; width < tile.nested.width; ++group) {
    const std::size_t bits = form.groups[group];
    place.finer[group - 1] =
        tile.weight + tile.nested.at[group] + at * (kStripRows * form.block * bits / 8);
    width += bits;
  }
  return place;
}

}  // namespace

const StripFormat& strip_format(const DotTile& tile) {
  return tile.layout == WeightLayout::kPlanes ? strip_format(tile.nested)
                                              : strip_format(*tile.format);
}

StripPlace turned_strip(const DotTile& tile, std::size_t first_row, std::size_t begin,
                        std::size_t elements, std::byte* turned) {
  if (tile.layout == WeightLayout::kPlanes) {
    return nested_strip(tile, tile.first_row + first_row, begin);
  }
  const std::size_t rows = at_most(tile.weight_rows - first_row, kStripRows);
  const std::byte* const first = tile.weight + first_row * tile.row_bytes;
  if (tile.layout == WeightLayout::kStrips && rows == kStripRows) {
    return {.block = first + kStripRows * tile.format->bytes(begin)};
  }
  const std::byte* const from = first + tile.format->bytes(begin);
  to_strip(*tile.format, from, tile.row_bytes, rows, elements / tile.format->block_elements,
           turned);
  return {.block = turned};
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

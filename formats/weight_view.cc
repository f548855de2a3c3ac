#include "formats/weight_view.h"

namespace sluice {
namespace {

/// Plain numbers, whatever their strides: the columns' layout of base/compute.h asks for no order.
std::optional<WeightView> view_of_floats(const StoredLayout& stored, WeightView view) {
  WeightMatrix& matrix = view.matrix;
  if (!matrix.format->is_float() || matrix.format->type != stored.type) return std::nullopt;
  matrix.layout = WeightLayout::kColumns;
  matrix.row_step = stored.row_stride;
  matrix.column_stride = stored.column_stride;
  view.offset = matrix.format->bytes(stored.offset);
  return view;
}

/// Whole rows of codes, which begin where a row of scales does.
std::optional<WeightView> view_of_f8(const StoredLayout& stored, WeightView view) {
  WeightMatrix& matrix = view.matrix;
  const std::uint64_t first_row = stored.offset / stored.columns;
  if (!tensor_format(stored.scale_type).is_float() || stored.stored_columns != stored.columns ||
      stored.column_stride != 1 || (stored.rows > 1 && stored.row_stride != stored.columns) ||
      stored.offset % stored.columns != 0 || first_row % stored.block_rows != 0) {
    return std::nullopt;
  }
  matrix.format = &tensor_format(TensorType::kF8_E4M3);
  matrix.scales = {&tensor_format(stored.scale_type), nullptr, stored.block_rows,
                   stored.block_columns};
  view.offset = stored.offset;
  view.scales_offset = matrix.scales.row_offset(first_row, matrix.columns);
  return view;
}

}  // namespace

WeightMatrix WeightView::at(const std::byte* range, const std::byte* scales) const {
  WeightMatrix placed = matrix;
  placed.data = range + offset;
  if (placed.scales.format != nullptr) placed.scales.data = scales + scales_offset;
  return placed;
}

WeightView row_view(const TensorInfo& tensor) {
  WeightView view;
  view.matrix.format = &tensor_format(tensor.type);
  view.matrix.rows = tensor.shape[tensor.shape.size() - 2];
  view.matrix.columns = tensor.shape.back();
  return view;
}

std::optional<WeightView> weight_view(const TensorInfo& tensor) {
  const WeightView rows = row_view(tensor);
  if (!tensor.stored) return rows;
  const StoredLayout& stored = *tensor.stored;
  if (stored.arithmetic != StoredArithmetic::kNone) return std::nullopt;
  if (stored.code == StoredCode::kType) return view_of_floats(stored, rows);
  if (stored.code == StoredCode::kF8E4M3) return view_of_f8(stored, rows);
  return std::nullopt;
}

}  // namespace sluice

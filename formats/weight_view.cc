#include "formats/weight_view.h"

namespace sluice {
namespace {

/// Plain numbers, whatever their strides: the columns' layout of base/compute.h asks for no order.
std::optional<WeightView> view_of_floats(const StoredLayout& stored, WeightView view) {
  WeightMatrix& matrix = view.matrix;
  const bool known = stored.type == TensorType::kF32 || stored.type == TensorType::kF16 ||
                     stored.type == TensorType::kBF16;
  if (!known || matrix.format->type != stored.type) return std::nullopt;
  matrix.layout = WeightLayout::kColumns;
  matrix.row_step = stored.row_stride;
  matrix.column_stride = stored.column_stride;
  view.offset = matrix.format->bytes(stored.offset);
  return view;
}

}  // namespace

WeightMatrix WeightView::at(const std::byte* range) const {
  WeightMatrix placed = matrix;
  placed.data = range + offset;
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
  return std::nullopt;
}

}  // namespace sluice

#include "formats/tensor_views.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

Status corrupt(const TensorInfo& tensor, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "tensor '" + tensor.name + "': " + what);
}

std::uint64_t units_per_range(const TensorInfo& tensor, const StoredLayout& layout) {
  return tensor.elements() / (layout.rows * layout.columns * tensor.ranges.size());
}

/// How the tensor lies, said in full.
StoredLayout layout_of(const TensorInfo& tensor) {
  if (tensor.stored) return *tensor.stored;
  StoredLayout layout;
  layout.type = tensor.type;
  layout.columns = tensor.shape.back();
  layout.rows = tensor.shape.size() < 2 ? 1 : tensor.shape[tensor.shape.size() - 2];
  layout.unit_stride = layout.rows * layout.columns;
  layout.row_stride = layout.columns;
  layout.stored_columns = layout.columns;
  return layout;
}

/// Whole rows in pieces need no layout.
void simplify(TensorInfo& tensor) {
  const StoredLayout& layout = *tensor.stored;
  const TensorFormat& format = tensor_format(tensor.type);
  const bool rows_follow = layout.rows == 1 || layout.row_stride == layout.columns;
  if (layout.code != StoredCode::kType || layout.arithmetic != StoredArithmetic::kNone ||
      layout.type != tensor.type || layout.column_stride != 1 || !rows_follow ||
      layout.columns % format.block_elements != 0 || layout.offset % format.block_elements != 0 ||
      layout.unit_stride % format.block_elements != 0) {
    return;
  }
  const std::uint64_t units = units_per_range(tensor, layout);
  const std::uint64_t bytes = format.bytes(layout.rows * layout.columns);
  std::vector<FileRange> pieces;
  pieces.reserve(units * tensor.ranges.size());
  for (const FileRange& range : tensor.ranges) {
    for (std::uint64_t unit = 0; unit < units; ++unit) {
      pieces.push_back({range.file,
                        range.offset + format.bytes(layout.offset + unit * layout.unit_stride),
                        bytes});
    }
  }
  const bool one_run = std::ranges::adjacent_find(pieces, [](const auto& a, const auto& b) {
                         return a.file != b.file || a.offset + a.bytes != b.offset;
                       }) == pieces.end();
  if (one_run) pieces = {{pieces[0].file, pieces[0].offset, bytes * pieces.size()}};
  tensor.ranges = std::move(pieces);
  tensor.stored.reset();
}

}  // namespace

TensorInfo transposed(TensorInfo tensor) {
  StoredLayout layout = layout_of(tensor);
  std::swap(layout.rows, layout.columns);
  std::swap(layout.row_stride, layout.column_stride);
  std::swap(tensor.shape[tensor.shape.size() - 2], tensor.shape.back());
  if (tensor_format(tensor.type).block_elements > 1) tensor.type = TensorType::kF32;
  tensor.stored = std::move(layout);
  return tensor;
}

Result<TensorInfo> select_rows(const TensorInfo& tensor, std::string name, std::uint64_t first,
                               std::uint64_t count, std::uint64_t step) {
  StoredLayout layout = layout_of(tensor);
  if (tensor.shape.size() < 2 || count == 0 || first + (count - 1) * step >= layout.rows) {
    return corrupt(tensor, "too few rows for '" + name + "'");
  }
  // Pieces of a matrix are not told apart by its rows.
  if (tensor.ranges.size() > 1 &&
      tensor.elements() % (layout.rows * layout.columns * tensor.ranges.size()) != 0) {
    return corrupt(tensor, "lies in pieces and cannot be divided");
  }
  TensorInfo part{std::move(name), tensor.type, tensor.shape, tensor.ranges};
  part.shape[part.shape.size() - 2] = count;
  layout.offset += first * layout.row_stride;
  layout.row_stride *= step;
  layout.rows = count;
  part.stored = std::move(layout);
  simplify(part);
  return part;
}

Result<TensorInfo> select_elements(const TensorInfo& tensor, std::string name, std::uint64_t first,
                                   std::uint64_t count, std::uint64_t step) {
  if (tensor.shape.size() != 2 || tensor.stored) return corrupt(tensor, "is no list of vectors");
  TensorInfo column = tensor;
  column.shape.push_back(1);
  SLUICE_ASSIGN(TensorInfo part, select_rows(column, std::move(name), first, count, step));
  part.shape.pop_back();
  return part;
}

Result<TensorInfo> divide_rows(TensorInfo tensor, std::uint64_t units) {
  if (tensor.shape.size() != 2 || tensor.ranges.size() != 1 || units == 0 ||
      tensor.shape[0] % units != 0) {
    return corrupt(tensor, "cannot be divided into " + std::to_string(units) + " matrices");
  }
  StoredLayout layout = layout_of(tensor);
  layout.rows /= units;
  layout.unit_stride = layout.rows * layout.row_stride;
  tensor.shape = {units, layout.rows, layout.columns};
  tensor.stored = std::move(layout);
  return tensor;
}

Result<TensorInfo> stack_rows(std::string name, const std::vector<TensorInfo>& parts) {
  TensorInfo whole{std::move(name), parts.front().type, {0, parts.front().shape.back()}, {}};
  for (const TensorInfo& part : parts) {
    if (part.stored) {
      return Status(ErrorCode::kUnsupported,
                    "tensor '" + part.name + "' is coded in a way that cannot be taken apart");
    }
    whole.shape[0] += part.elements() / part.shape.back();
    whole.ranges.insert(whole.ranges.end(), part.ranges.begin(), part.ranges.end());
  }
  return whole;
}

void split_range(TensorInfo& tensor) {
  const std::uint64_t slices = tensor.shape.front();
  if (tensor.ranges.size() != 1 || slices == 1) return;
  const auto divide = [&](std::vector<FileRange>& ranges) {
    if (ranges.size() != 1) return;
    const FileRange whole = ranges.front();
    const std::uint64_t bytes = whole.bytes / slices;
    ranges.clear();
    for (std::uint64_t i = 0; i < slices; ++i) {
      ranges.push_back({whole.file, whole.offset + i * bytes, bytes});
    }
  };
  divide(tensor.ranges);
  if (tensor.stored) divide(tensor.stored->scales);
}

void set_arithmetic(TensorInfo& tensor, StoredArithmetic arithmetic) {
  StoredLayout layout = layout_of(tensor);
  layout.arithmetic = arithmetic;
  tensor.type = TensorType::kF32;
  tensor.stored = std::move(layout);
}

}  // namespace sluice

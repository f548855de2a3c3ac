#include "formats/store_layout_check.h"

#include <string>

#include "formats/expert_tensors.h"
#include "formats/stored_layout.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

/// Of strides and extents of a layout: beyond any file, and small enough for sums.
constexpr std::uint64_t kMost = std::uint64_t{1} << 60;

Status corrupt(const std::string& what) { return Status(ErrorCode::kCorrupt, what); }

/// Whole rows in every range, and as many bytes as the tensor has.
Status check_plain(const TensorInfo& tensor, std::uint64_t bytes) {
  const std::uint64_t row = tensor_format(tensor.type).bytes(tensor.shape.back());
  std::uint64_t sum = 0;
  for (const FileRange& range : tensor.ranges) {
    if (range.bytes % row != 0) return corrupt("a range does not hold whole rows");
    sum += range.bytes;
  }
  if (sum == bytes) return {};
  return corrupt("its ranges hold " + std::to_string(sum) + " bytes where type and shape make " +
                 std::to_string(bytes));
}

bool product_overflows(std::uint64_t left, std::uint64_t right, std::uint64_t* product) {
  return __builtin_mul_overflow(left, right, product) || *product > kMost;
}

/// The matrices that a layout speaks of are the tensor's last two dimensions; plain numbers of a
/// tensor of up to two may be counted otherwise, for nobody takes those for a matrix.
bool is_the_matrix(const TensorInfo& tensor) {
  const StoredLayout& layout = *tensor.stored;
  const std::size_t dimensions = tensor.shape.size();
  const std::uint64_t rows = dimensions < 2 ? 1 : tensor.shape[dimensions - 2];
  return (layout.rows == rows && layout.columns == tensor.shape.back()) ||
         (layout.code == StoredCode::kType && dimensions <= 2);
}

Status check_numbers(const TensorInfo& tensor) {
  const StoredLayout& layout = *tensor.stored;
  const std::uint64_t elements = tensor.elements();
  std::uint64_t unit = 0, in_all = 0;
  if (layout.rows == 0 || layout.columns == 0 || !is_the_matrix(tensor) ||
      product_overflows(layout.rows, layout.columns, &unit) ||
      product_overflows(unit, tensor.ranges.size(), &in_all) || elements % in_all != 0) {
    return corrupt("its layout's rows and columns do not make its shape");
  }
  std::uint64_t units = 0, rows = 0, columns = 0;
  if (layout.offset > kMost ||
      product_overflows(elements / in_all - 1, layout.unit_stride, &units) ||
      product_overflows(layout.rows - 1, layout.row_stride, &rows) ||
      product_overflows(layout.columns - 1, layout.column_stride, &columns)) {
    return corrupt("its layout's strides are out of range");
  }
  return {};
}

Status check_code(const TensorInfo& tensor) {
  const StoredLayout& layout = *tensor.stored;
  const std::size_t scales = layout.code == StoredCode::kType ? 0 : tensor.ranges.size();
  if (layout.scales.size() != scales) {
    return corrupt(std::to_string(layout.scales.size()) + " scales for " +
                   std::to_string(tensor.ranges.size()) + " ranges");
  }
  switch (layout.code) {
    case StoredCode::kType:
      return {};
    case StoredCode::kF8E4M3:
      for (const std::uint64_t extent :
           {layout.stored_columns, layout.block_rows, layout.block_columns}) {
        if (extent == 0 || extent > kMost) return corrupt("its blocks of scales are out of range");
      }
      if (!tensor_format(layout.scale_type).is_float() || !tensor_format(tensor.type).is_float()) {
        return corrupt("FP8 becomes floats, and its scales are floats");
      }
      return {};
    case StoredCode::kSplitMxfp4:
      if (tensor.type != TensorType::kMXFP4 || layout.arithmetic != StoredArithmetic::kNone) {
        return corrupt("MXFP4 stays what it is");
      }
      return {};
  }
  return corrupt("no such code");
}

/// Groups that are as large as their form and the tensor's shape make them: of each expert the
/// first, and those behind it without a gap.
Status check_nested(const TensorInfo& tensor) {
  const NestedRanges& nested = *tensor.nested;
  const NestedForm& form = *nested.form;
  const bool of_its_type =
      form.fitted ? tensor_format(tensor.type).is_float() : tensor.type == form.source;
  if (!layer_of_experts(tensor.name) || !of_its_type || tensor.shape.size() != 3 ||
      tensor.shape[2] % form.block != 0) {
    return corrupt("planes of the form " + std::string(form.name) +
                   " are of stacked experts of the form's numbers, with rows of whole blocks");
  }
  if (nested.groups.size() != tensor.shape[0] * form.group_count) {
    return corrupt(std::to_string(nested.groups.size()) + " groups of planes for " +
                   std::to_string(tensor.shape[0]) + " experts");
  }
  for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
    const std::size_t there = nested.group_count(expert);
    for (std::size_t i = 0; i < form.group_count; ++i) {
      const std::uint64_t bytes = form.group_bytes(i, tensor.shape[1], tensor.shape[2]);
      const std::uint64_t found = nested.group(expert, i).bytes;
      const bool fits = found == (i < there ? bytes : 0) && there > 0;
      if (fits) continue;
      return corrupt("group " + std::to_string(i) + " of the planes of expert " +
                     std::to_string(expert) + " has " + std::to_string(found) + " bytes where " +
                     (found == 0  ? "the first is always there"
                      : i > there ? "there are none before it"
                                  : "form and shape make " + std::to_string(bytes)));
    }
  }
  return {};
}

}  // namespace

Status check_stored_tensor(const TensorInfo& tensor) {
  SLUICE_ASSIGN(const std::uint64_t bytes,
                checked_tensor_bytes(tensor_format(tensor.type), tensor.shape));
  if (tensor.nested) {
    SLUICE_TRY(check_nested(tensor));
    if (tensor.ranges.empty()) {
      return tensor.stored ? corrupt("has a layout and no bytes of it") : Status();
    }
  }
  if (!tensor.stored) return check_plain(tensor, bytes);
  SLUICE_TRY(check_numbers(tensor));
  SLUICE_TRY(check_code(tensor));
  for (std::size_t i = 0; i < tensor.ranges.size(); ++i) {
    const std::vector<FileRange>& scales = tensor.stored->scales;
    SLUICE_TRY(check_range(tensor, tensor.ranges[i].bytes, scales.empty() ? 0 : scales[i].bytes));
  }
  return {};
}

}  // namespace sluice

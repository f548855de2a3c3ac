#include "formats/coded_tensors.h"

#include <limits>
#include <string>
#include <utility>

#include "formats/tensor_collector.h"
#include "formats/tensor_views.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMxfp4Elements = 32;
constexpr std::uint64_t kMxfp4Codes = 16;
constexpr std::uint64_t kUsualBlock = 128;  // DeepSeek's, and everybody's after it

Status corrupt(const TensorInfo& tensor, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "tensor '" + tensor.name + "': " + what);
}

std::uint64_t blocks_of(std::uint64_t extent, std::uint64_t block) {
  return extent / block + (extent % block != 0 ? 1 : 0);
}

/// The layout of a tensor that lies row after row, whatever its code.
StoredLayout straight_layout(const TensorInfo& tensor, StoredCode code) {
  StoredLayout layout;
  layout.code = code;
  layout.columns = tensor.shape.back();
  layout.rows = tensor.shape.size() < 2 ? 1 : tensor.shape[tensor.shape.size() - 2];
  layout.row_stride = layout.columns;
  layout.unit_stride = layout.rows * layout.columns;
  layout.stored_columns = layout.columns;
  return layout;
}

/// A byte for each element.
Status check_bytes(const TensorInfo& tensor) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : tensor.shape) {
    if (extent == 0 || elements > (std::numeric_limits<std::uint64_t>::max() >> 8) / extent) {
      return corrupt(tensor, "its extents are out of range");
    }
    elements *= extent;
  }
  if (elements == tensor.ranges.front().bytes) return {};
  return corrupt(tensor, "'data_offsets' span " + std::to_string(tensor.ranges.front().bytes) +
                             " bytes, but its shape and dtype need " + std::to_string(elements));
}

}  // namespace

Result<std::optional<TensorInfo>> read_codes(const SafetensorsTensor& tensor) {
  const bool fp8 = tensor.foreign == "F8_E4M3";
  const bool mxfp4 = tensor.foreign == "U8" && tensor.info.name.ends_with("_blocks");
  if (!fp8 && !mxfp4) return std::optional<TensorInfo>();
  TensorInfo codes = tensor.info;
  SLUICE_TRY(check_bytes(codes));
  if (fp8) {
    codes.type = TensorType::kF32;
  } else {
    if (codes.shape.size() < 3 || codes.shape.back() != kMxfp4Codes) {
      return corrupt(codes, "its last extent is not a block's 16 bytes");
    }
    codes.type = TensorType::kMXFP4;
    codes.shape.pop_back();
    codes.shape.back() *= kMxfp4Elements;
  }
  codes.stored = straight_layout(codes, fp8 ? StoredCode::kF8E4M3 : StoredCode::kSplitMxfp4);
  return std::optional(std::move(codes));
}

Result<std::optional<TensorInfo>> read_scales(const SafetensorsTensor& tensor) {
  if (!tensor.foreign) return std::optional(tensor.info);
  if (tensor.foreign != "U8" || !tensor.info.name.ends_with("_scales")) {
    return std::optional<TensorInfo>();
  }
  SLUICE_TRY(check_bytes(tensor.info));
  TensorInfo scales = tensor.info;
  scales.stored = straight_layout(scales, StoredCode::kSplitMxfp4);
  return std::optional(std::move(scales));
}

Status attach_scales(TensorInfo& codes, const TensorInfo& scales, const ScaleBlock& block) {
  StoredLayout& layout = *codes.stored;
  const std::vector<std::uint64_t>& shape = scales.shape;
  const auto unfit = [&] { return corrupt(scales, "its shape does not fit '" + codes.name + "'"); };
  if ((layout.code == StoredCode::kSplitMxfp4) != scales.stored.has_value()) {
    return corrupt(scales, "its dtype does not fit '" + codes.name + "'");
  }
  if (scales.ranges.size() != codes.ranges.size()) return unfit();
  if (layout.code == StoredCode::kSplitMxfp4) {
    std::vector<std::uint64_t> expected = codes.shape;
    expected.back() /= kMxfp4Elements;
    if (shape != expected) return unfit();
    layout.scales = scales.ranges;
    return {};
  }
  // The last two extents belong to a matrix; what stands before them counts matrices in both.
  const bool stacked = codes.shape.size() == 3;
  std::uint64_t rows = 1, columns = 1;
  std::size_t leading = 0;
  if (stacked) {
    if (shape.empty() || shape[0] != codes.shape[0] || shape.size() > 3) return unfit();
    leading = 1;
  }
  if (shape.size() > leading) rows = shape[leading];
  if (shape.size() > leading + 1) columns = shape[leading + 1];
  if (shape.size() > leading + 2) return unfit();
  if (block && rows * columns > 1) {
    layout.block_rows = (*block)[0];
    layout.block_columns = (*block)[1];
  } else {
    layout.block_rows = rows == 1 ? layout.rows : rows == layout.rows ? 1 : kUsualBlock;
    layout.block_columns = columns == 1 ? layout.columns : kUsualBlock;
  }
  if (blocks_of(layout.rows, layout.block_rows) != rows ||
      blocks_of(layout.columns, layout.block_columns) != columns) {
    return unfit();
  }
  layout.scales = scales.ranges;
  layout.scale_type = scales.type;
  if (stacked) split_range(codes);
  return {};
}

}  // namespace sluice

#pragma once
// One tensor of a checkpoint: its name, type and shape, and where in which file its bytes lie.
//
// Most tensors simply lie there: the bytes of `ranges`, one after the other, are the tensor in its
// type, row after row. Files also keep gate and up in one tensor (row by row in turn, or with
// columns first), keep FP8 codes apart from their scales, or keep the logarithm of what is wanted.
// Such a tensor has a StoredLayout that says how its numbers come out of the bytes; whoever loads
// it re-lays it once, with relay_range (stored_layout.h). Formats copies nothing.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/nested_planes.h"
#include "base/tensor_format.h"

namespace sluice {

/// A run of bytes in one of the checkpoint's files.
struct FileRange {
  std::uint32_t file = 0;  // index into Checkpoint::files
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// How numbers are coded in a file, besides the types of base/tensor_format.h.
enum class StoredCode : std::uint8_t {
  kType,        // as StoredLayout::type says
  kF8E4M3,      // a byte each: sign, 4 bits of exponent, 3 of mantissa; times their block's scale
  kSplitMxfp4,  // MXFP4 with blocks of 16 bytes (element 2i in byte i's low half, 2i + 1 in its
                // high half) in `ranges` and the blocks' exponents, a byte each, in `scales`
};

/// What is to be done with each number once it is decoded.
enum class StoredArithmetic : std::uint8_t { kNone, kPlusOne, kMinusExp };

/// The tensor is a number of equal *units*, matrices of `rows` x `columns`, shared out evenly over
/// the ranges. Inside a range's numbers, element (row, column) of its unit u is number
///     offset + u * unit_stride + row * row_stride + column * column_stride.
struct StoredLayout {
  StoredCode code = StoredCode::kType;
  TensorType type = TensorType::kF32;  // where the code is kType: of what lies in the ranges
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::uint64_t offset = 0;
  std::uint64_t unit_stride = 0;
  std::uint64_t row_stride = 0;
  std::uint64_t column_stride = 1;
  std::uint64_t stored_columns =
      0;  // of the matrix that the file has: its blocks are counted in it
  StoredArithmetic arithmetic = StoredArithmetic::kNone;
  /// One beside each range; none where the code needs none. For kF8E4M3 a matrix of scales, one for
  /// each block of `block_rows` x `block_columns` of the stored matrix, the last ones cut off.
  std::vector<FileRange> scales;
  TensorType scale_type = TensorType::kF32;
  std::uint64_t block_rows = 0;
  std::uint64_t block_columns = 0;
};

/// The matrices of stacked experts in groups of planes.
struct NestedRanges {
  const NestedForm* form = nullptr;
  /// [experts][form->group_count]. An expert that rests at a narrower width than the form's has
  /// groups up to there; in the place of the others are empty ranges.
  std::vector<FileRange> groups;

  /// How many groups an expert has, and how many bits of a weight these make.
  std::size_t group_count(std::uint64_t expert) const;
  unsigned width(std::uint64_t expert) const { return form->width(group_count(expert)); }
  /// REQUIRES: group < form->group_count.
  const FileRange& group(std::uint64_t expert, std::size_t group) const {
    return groups[expert * form->group_count + group];
  }
};

/// Shape is outermost first: [rows, columns] for a matrix, [experts, rows, columns] for stacked
/// experts.
struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::uint64_t> shape;
  /// One range; or, for stacked experts that the file keeps apart, one for each expert in order; or
  /// any number of pieces, each of whole rows. None: there are only planes.
  std::vector<FileRange> ranges;
  /// Empty: the ranges' bytes are the tensor as they are.
  std::optional<StoredLayout> stored = std::nullopt;
  /// Stacked experts a second time, or only so.
  std::optional<NestedRanges> nested = std::nullopt;

  std::uint64_t elements() const;
  /// Of the ranges. Two tensors that lie row by row in turn share theirs.
  std::uint64_t bytes() const;
  /// The bytes of slice `index` along the outermost dimension, whichever way they are kept.
  /// REQUIRES: index < shape[0]; one range, or as many as shape[0].
  FileRange slice(std::uint64_t index) const;
};

}  // namespace sluice

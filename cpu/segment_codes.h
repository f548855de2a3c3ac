#pragma once
// A weight row's part under one segment, taken out of its format: what every quantised dot starts
// from.

#include <cstddef>
#include <cstdint>

#include "base/tensor_format.h"

namespace sluice::SLUICE_ISA {

/// How a format's codes come out of `unpack` (code_lanes.h).
struct SegmentFormat {
  /// `elements` <= 512 of a row from `blocks` on → bytes `code + offset` [elements], scales
  /// [elements / group], and mins where the format has them. REQUIRES: elements is a multiple of
  /// the block's.
  void (*unpack)(const TensorFormat& format, const std::byte* blocks, std::size_t elements,
                 std::uint8_t* codes, float* scales, float* mins);
  /// Scales and mins as above, and the integer dots of the groups with x, for formats with groups
  /// of 32: one activation row needs the codes but once, and storing them costs more than
  /// multiplying them. REQUIRES: elements is 512 or 256, dots has room for 16. Null: not there.
  void (*dot)(const std::byte* blocks, std::size_t elements, const std::int8_t* x,
              std::int32_t* dots, float* scales, float* mins);
  int offset;
  bool wide;
};

/// REQUIRES: the format is quantised.
SegmentFormat segment_format(const TensorFormat& format);

}  // namespace sluice::SLUICE_ISA

#pragma once
// A weight row's part under one segment, taken out of its format: what every quantised dot starts
// from.

#include <cstddef>
#include <cstdint>

#include "base/tensor_format.h"

namespace sluice::SLUICE_ISA {

/// Where a row's scales go that stay halves: eight, then, behind those of the strip's other rows
/// (kRows in all), the next eight.
struct HalfRow {
  static constexpr std::size_t kRows = 16;
  std::uint16_t* first;
  std::uint16_t* eight(std::size_t i) const { return first + i * 8 * kRows; }
};

/// Sixteen weight rows' part under a segment and one activation row, for formats with groups of 32:
/// the factors of canonical.h's terms, row by row as they come, to be turned (code_lanes.h).
struct StripTerms {
  static constexpr std::size_t kRows = 16, kGroups = 16;
  alignas(64) std::int32_t dots[kRows * kGroups];  // in the order that turn_dots takes
  float scales[kRows][kGroups];
  float mins[kRows][kGroups];
  // The same where they are halves in the blocks and stay so: by eight groups.
  std::uint16_t half_scales[kGroups / 8][kRows][8];
  std::uint16_t half_mins[kGroups / 8][kRows][8];
};

/// A run of segments of a strip: `rows` <= 16 weight rows, row_bytes apart, and `elements` of each,
/// against the activation codes at `x`, whose segments are x_stride bytes apart.
struct StripRun {
  const std::byte* blocks;
  std::size_t row_bytes, rows, elements;
  std::size_t segment_bytes;
  const std::int8_t* x;
  std::size_t x_stride;
};

/// How a format's codes come out of `unpack` (code_lanes.h).
struct SegmentFormat {
  /// `elements` <= 512 of a row from `blocks` on → bytes `code + offset` [elements], scales
  /// [elements / group], and mins where the format has them. REQUIRES: elements is a multiple of
  /// the block's.
  void (*unpack)(const TensorFormat& format, const std::byte* blocks, std::size_t elements,
                 std::uint8_t* codes, float* scales, float* mins);
  /// The terms of a run, one StripTerms for each segment, for formats with groups of 32: one
  /// activation row needs the codes but once, and storing them costs more than multiplying them.
  /// Rows from `rows` on hold anything. REQUIRES: elements is a multiple of 256, rows > 0. Null:
  /// not there.
  void (*dot)(const StripRun& run, StripTerms* terms);
  int offset;
  bool wide;
  bool halves;  // which of the scales and mins `dot` sets
};

/// REQUIRES: the format is quantised.
SegmentFormat segment_format(const TensorFormat& format);

}  // namespace sluice::SLUICE_ISA

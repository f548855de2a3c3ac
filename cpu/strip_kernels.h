#pragma once
// What quantised products do with a strip of sixteen weight rows (base/strip_layout.h), one row of
// functions for each format.

#include <cstddef>
#include <cstdint>

#include "base/canonical.h"
#include "base/nested_planes.h"
#include "base/tensor_format.h"

namespace sluice::SLUICE_ISA {

inline constexpr std::size_t kMaxGroups = kSegment / 16;

/// An activation row's part under a segment.
struct ActivationSegment {
  const std::int8_t* codes;  // [elements]
  const float* scales;       // [elements / 32]
  // By group of weights: the sums of the codes, for formats with minima, and times
  // StripFormat::sum_factor.
  float sums[kMaxGroups];
  std::int32_t corrections[kMaxGroups];
};

/// Where columns of a strip begin: in the file's order turned, or in groups of planes.
struct StripPlace {
  const std::byte* block = nullptr;                    // of planes: a tile of group 0
  const std::byte* finer[kMostNestedGroups - 1] = {};  // of planes: tiles of groups 1, …
  const NestedHeader* header = nullptr;                // of planes
  std::size_t tile = 0;                                // of planes, from `finer` on
};

/// A segment of a strip, unpacked for many activation rows.
struct Panel {
  alignas(64) std::uint8_t codes[kSegment / 4][64];  // [columns / 4][16 rows][4]
  alignas(64) float scales[kMaxGroups][16];
  alignas(64) float mins[kMaxGroups][16];
  alignas(64) std::int32_t row_terms[kMaxGroups][16];  // of planes with offsets
};

struct StripFormat {
  /// totals[r][16] += the products of `elements` columns of a strip and activation row r, of
  /// n_rows <= few_rows. `x` has n_rows for each segment.
  void (*multiply)(const StripPlace& strip, std::size_t elements, const ActivationSegment* x,
                   std::size_t n_rows, float (*totals)[16]);
  /// At most a segment of a strip.
  void (*unpack)(const StripPlace& strip, std::size_t elements, Panel& panel);
  /// totals[s][r][16] += the products of kRegisterStrips panels, or of one, and n_rows rows.
  void (*multiply_panels)(const Panel* panels, std::size_t n_panels, std::size_t elements,
                          const ActivationSegment* x, std::size_t n_rows,
                          float (*const* totals)[16]);
  int offset;       // of the codes in a panel; of planes with offsets row_terms make it good
  int sum_factor;   // what a group's sums of activation codes are multiplied by, first of all
  int code_factor;  // what a group's codes are multiplied by before row_terms; 0: there are none
  std::size_t few_rows;  // more activation rows than so many meet a panel
};

/// REQUIRES: the format is quantised.
const StripFormat& strip_format(const TensorFormat& format);
/// The same of a format with codebooks.
const StripFormat& codebook_strip_format(const TensorFormat& format);
/// REQUIRES: the form has this width.
const StripFormat& strip_format(const NestedView& nested);

/// Kernels::to_strip.
void to_strip(const TensorFormat& format, const std::byte* rows, std::size_t row_bytes,
              std::size_t n_rows, std::size_t n_blocks, std::byte* strip);

}  // namespace sluice::SLUICE_ISA

#pragma once
// Dot products of weight rows and activation rows, in the namespace of the instruction set that is
// being compiled (kernels.h).

#include "base/canonical.h"
#include "base/strip_layout.h"
#include "cpu/kernels.h"

namespace sluice::SLUICE_ISA {

/// Kernels::dot: one of the three below.
void dot(const DotTile& tile, std::byte* scratch);

namespace {
inline std::size_t at_most(std::size_t n, std::size_t limit) { return n < limit ? n : limit; }
/// A tile's rows lie end to end, but segments visit them in jumps that no hardware prefetcher
/// follows: so ask for the next rows' while these are worked on. Beyond the matrix this asks in
/// vain, which is harmless. Inlined for certain, since GCC takes a function that does nothing else
/// for one without effects and leaves its calls out; and one instruction for all lines, as
/// was measured to be better than one for each; why is not known.
[[gnu::always_inline]] inline void prefetch(const std::byte* from, std::size_t bytes) {
#pragma GCC unroll 1
  for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}
}  // namespace

struct StripFormat;
struct StripPlace;
/// What is done with a tile's strips.
const StripFormat& strip_format(const DotTile& tile);
/// Columns [begin, begin + elements) of the strip of weight rows that begins at first_row, turned
/// (base/strip_layout.h): where they lie, or in `turned`, which holds kMaxStripBytes a segment.
StripPlace turned_strip(const DotTile& tile, std::size_t first_row, std::size_t begin,
                        std::size_t elements, std::byte* turned);
/// No quantised format has more bytes to an element than nine eighths.
inline constexpr std::size_t kMaxStripBytes = kStripRows * kSegment * 9 / 8;

/// Rule 3 for WeightLayout::kColumns.
void column_dot(const DotTile& tile, std::byte* scratch);
/// canonical.h's rule 2. REQUIRES: the format is quantised, tile.codes is not null.
void quantised_dot(const DotTile& tile, std::byte* scratch);
/// Rule 3; quantised weights are decoded first.
void float_dot(const DotTile& tile, std::byte* scratch);

}  // namespace sluice::SLUICE_ISA

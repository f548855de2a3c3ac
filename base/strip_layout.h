#pragma once
// How weights lie in memory where sixteen rows are multiplied at once.
//
// A file has row after row, each a run of blocks (WeightLayout::kRows). A kernel wants the same
// piece of several rows side by side, so that a lane of its registers is a row and memory is read
// from end to end. WeightLayout::kStrips therefore turns each sixteen rows, a *strip*, in place:
//
//     [block 0 of rows 0…15][block 1 of rows 0…15]…   and each of these
//     [32-bit word 0 of each row][word 1 of each row]…[the rest of each row's block, 1 or 2 bytes]
//
// It is the same for every format, changes no bit of a weight and takes no more room. Blocks whose
// size is no multiple of four have a half or a byte, their scale, before or behind their words
// (TensorFormat::scale_last). Rows that do not fill the last strip stay as they are.
//
// Floats that meet many zeros lie otherwise (WeightLayout::kColumnStrips): kColumnStripRows rows
// at a time column by column, so that what meets a zero is in one place and is not read. The last
// rows are a narrower strip.

#include <cstddef>

#include "base/operations.h"
#include "base/tensor_format.h"

namespace sluice {

inline constexpr std::size_t kStripRows = 16;

inline constexpr std::size_t kColumnStripRows = 64;

/// Where the parts of a block are, in the file and in a strip.
struct StripBlock {
  explicit StripBlock(const TensorFormat& format)
      : words(format.block_bytes / 4),
        rest_bytes(format.block_bytes % 4),
        first_word(format.scale_last ? 0 : rest_bytes),
        rest(format.scale_last ? words * 4 : 0) {}
  std::size_t words;
  std::size_t rest_bytes;
  std::size_t first_word;  // byte of a row's block in the file
  std::size_t rest;        // byte of a row's block in the file
};

/// Row `row` of the matrix as float32 `[columns]`, whatever its layout.
void decode_row(const WeightMatrix& matrix, std::size_t row, float* out);

/// Rows [first, first + count) as kRows has them, without scales beside them, to
/// out `[count, row_bytes]`. REQUIRES: the layout is kRows, kStrips or kColumnStrips; `first`
/// begins a strip, and so does what follows the last, if anything does.
void copy_rows(const WeightMatrix& matrix, std::size_t first, std::size_t count, std::byte* out);

}  // namespace sluice

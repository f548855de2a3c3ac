#pragma once
// Nested codes: weights whose narrow forms are parts of their wide one, so that an expert can be
// read, kept and multiplied at any of several widths from one copy on disk.
//
// A weight has a code of B bits (8, 6 or 4); at width b it is known by the upper b of them.
// Neighbours in a row share a scale, and some forms have an offset o in [-8, 7] for each 32 of
// them, or a minimum:
//
//     value at width b = scale * step * (stand_b(code >> (B - b)) + unit * o) + minimum
//
//     b <= 4, b < B    stand_b is a table of the matrix (NestedHeader)
//     else             the middle of the numbers whose codes share the prefix; code c is the number
//                      first + c, or the one that a code book has of it, or (NestedForm::fitted)
//                      what lies between first + c and the next
//
// A step is a code, or in the tables of fewer than 8 bits a part of one, for the middle of two
// codes must be a number of a table, too; an offset's unit is 8 codes of 8 bits, and one of 4. So
// all in brackets is an integer, or half of one, which times scale and step is exact in float32, or
// (tables of Q6_K) rounded once; the sum with a minimum is rounded once more.
//
// The bits lie in *groups of planes*: each width's bits are those of the narrower one and a group
// more. In memory a matrix is turned as kernels read it, sixteen rows (a strip) side by side; what
// sixteen rows have of the columns of a block is a *tile*, and tiles follow one another along the
// strip, strip after strip, the last one filled up with zeros:
//
//     group 0         NestedHeader, then of each tile: the upper two bits of the codes, of each 32
//                     columns words 0 and 1 of each row, column 16 k + 4 f + i in bits 2 f, 2 f + 1
//                     of byte i of word k; then what each row's scales are made of, in words as far
//                     as it is whole ones: word 0 of each row, word 1 …, the rest of each row; then
//                     offsets + 8 as nibbles: byte r has row r low and row r + 8 high
//     one bit         of each tile, of each 32 columns: a word of each row, column 16 k + 4 f + i
//                     in bit 2 f + k of byte i: a plane's bits lie as a group of two bits has one
//                     of them
//     two bits        of each tile: words as in group 0

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/tensor_format.h"

namespace sluice {

inline constexpr std::size_t kNestedBlock = 32;  // columns whose bits lie together
inline constexpr std::size_t kNestedRows = 16;
inline constexpr std::size_t kMostNestedGroups = 6;

/// One row of the table of forms.
struct NestedForm {
  std::string_view name;    // as stores write it
  TensorType source;        // whose numbers all bits give; of a fitted form F32, which they do not
  std::uint8_t bits;        // of a whole code
  std::int8_t first;        // the number of code 0, which the others' follow one by one; unless
  const std::int8_t* book;  // [2^bits], not null: that of each code, ascending
  std::uint8_t unit;        // of offsets, in codes; 0: there are none
  std::uint8_t steps;       // of a code in tables
  std::uint16_t block;      // columns that have scales together: a multiple of kNestedBlock
  // What a row's scales (and minima) of a block are made of: as many bytes of the source's block,
  // from scales_at on, with its meaning; or, of a fitted form, one: 2^(e - 127 + base) * (1 + m /
  // 8) for its upper five bits e and lower three m, base being the matrix's.
  std::uint8_t scale_bytes, scales_at;
  bool fitted;
  std::uint8_t group_count;
  std::uint8_t groups[kMostNestedGroups];  // bits of each, the uppermost first; the first is 2

  /// Bits of the first `count` groups.
  unsigned width(std::size_t count) const;
  /// How many groups make this width; 0: it is none of the form's.
  std::size_t groups_of(unsigned width) const;
  /// How many groups make the widest of the form's widths that is at most this.
  std::size_t groups_within(unsigned width) const;
  /// Whether a width's numbers are in a table.
  bool has_table(unsigned at) const { return at <= 4 && at < bits; }
  /// Of a group of one tile: its codes; and all of it.
  std::size_t code_bytes(std::size_t group) const;
  std::size_t tile_bytes(std::size_t group) const;
  /// Of a group of a matrix, the header included. REQUIRES: columns is a multiple of block.
  std::size_t group_bytes(std::size_t group, std::size_t rows, std::size_t columns) const;
  /// As WeightMatrix::format of such a matrix: the codes that share a scale, and whether they have
  /// a minimum. No row of the table: there is no unpacking.
  const TensorFormat& format() const;
};

std::span<const NestedForm> nested_forms();
/// Null where there is none.
const NestedForm* find_nested_form(std::string_view name);
/// The form of an integer source's codes, or of a float's; null: the type has none.
const NestedForm* nested_form_of(TensorType source);

/// A matrix's first 64 bytes.
struct NestedHeader {
  std::int8_t four[16] = {};  // stand_4, unless B = 4; stand_3, stand_2
  std::int8_t three[8] = {};
  std::int8_t two[4] = {};
  std::uint8_t exponent_base = 0;  // of a fitted form's scales
  std::uint8_t zeros[35] = {};
};
static_assert(sizeof(NestedHeader) == 64);

/// A nested matrix's part of a WeightMatrix, whose data is where group 0 begins.
struct NestedView {
  const NestedForm* form = nullptr;
  std::uint8_t width = 0;
  std::array<std::int64_t, kMostNestedGroups> at{};  // of each group that is there, from data on

  /// Of the groups that are there.
  std::size_t bytes(std::size_t rows, std::size_t columns) const;
};

/// What a matrix is before it is cut into groups.
struct NestedParts {
  const NestedForm* form = nullptr;
  std::size_t rows = 0, columns = 0;
  NestedHeader header = {};
  const std::uint8_t* codes = nullptr;   // [rows, columns]
  const std::byte* scales = nullptr;     // [rows, columns / block], scale_bytes each
  const std::int8_t* offsets = nullptr;  // [rows, columns / block], where there are any
};

/// Group `group`, into out `[form->group_bytes]`.
void write_nested_group(const NestedParts& parts, std::size_t group, std::byte* out);

/// Row `row` of a matrix of so many columns → float32.
void decode_nested_row(const NestedView& view, const std::byte* data, std::size_t columns,
                       std::size_t row, float* out);

}  // namespace sluice

#pragma once
// Nested codes: weights whose narrow forms are parts of their wide one, so that an expert can be
// read, kept and multiplied at any of several widths from one copy on disk.
//
// A weight has a code of B bits (8 or 4); at width b it is known by the upper b of them. Blocks of
// 32 neighbours in a row share a scale and an offset o in [-8, 7]:
//
//     value at width b = scale * step * (stand_b(code >> (B - b)) + unit * o)
//
//     b <= 4 < B, or b < 4 = B    stand_b is a table of the matrix (NestedHeader)
//     else                        the middle of the codes that share the prefix; code c is the
//                                 number c - 2^(B - 1), or (NestedForm::fitted) what lies between
//                                 that and the next
//
// A step is a code, or in the tables of B = 4 a sixteenth of one, for the middle of two codes must
// be a number of a table, too; an offset's unit is 8 codes of 8 bits, and one of 4. All of it is an
// integer, or half of one, times the scale, perhaps over 16, and exact in float32.
//
// The bits lie in *groups of planes*: each width's bits are those of the narrower one and a group
// more. In memory a matrix is turned as kernels read it, sixteen rows (a strip) side by side; what
// sixteen rows have of 32 columns is a *tile*, and tiles follow one another along the strip, strip
// after strip, the last one filled up with zeros:
//
//     group 0         NestedHeader, then of each tile: the upper two bits of the codes: words 0 and
//                     1 of each row, column 16 k + 4 f + i in bits 2 f, 2 f + 1 of byte i of word
//                     k; then each row's scale; then offsets + 8 as nibbles: byte r has row r low
//                     and row r + 8 high
//     one bit         of each tile: a word of each row, column 16 k + 4 f + i in bit 2 f + k of
//                     byte i: a plane's bits lie as a group of two bits has one of them
//     two bits        of each tile: words as in group 0

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/tensor_format.h"

namespace sluice {

inline constexpr std::size_t kNestedBlock = 32;
inline constexpr std::size_t kNestedRows = 16;
inline constexpr std::size_t kMostNestedGroups = 6;

/// How scales are kept: a byte, 2^(e - 127 + base) * (1 + m / 8) for its upper five bits e and
/// lower three m, base being the matrix's; or the source's float16.
enum class NestedScale : std::uint8_t { kByte, kHalf };

/// One row of the table of forms.
struct NestedForm {
  std::string_view name;  // as stores write it
  TensorType source;      // whose numbers all bits give; of a fitted form F32, which they do not
  std::uint8_t bits;      // of a whole code
  std::uint8_t unit;      // of offsets, in codes
  std::uint8_t steps;     // of a code in tables
  NestedScale scale;
  bool fitted;
  std::uint8_t group_count;
  std::uint8_t groups[kMostNestedGroups];  // bits of each, the uppermost first; the first is 2

  /// Bits of the first `count` groups.
  unsigned width(std::size_t count) const;
  /// How many groups make this width; 0: it is none of the form's.
  std::size_t groups_of(unsigned width) const;
  std::size_t scale_bytes() const { return scale == NestedScale::kByte ? 1 : 2; }
  /// Whether a width's numbers are in a table.
  bool has_table(unsigned at) const { return at <= 4 && at < bits; }
  /// Of a group of one tile.
  std::size_t tile_bytes(std::size_t group) const;
  /// Of a group of a matrix, the header included. REQUIRES: columns is a multiple of kNestedBlock.
  std::size_t group_bytes(std::size_t group, std::size_t rows, std::size_t columns) const;
};

std::span<const NestedForm> nested_forms();
/// Null where there is none.
const NestedForm* find_nested_form(std::string_view name);
/// The form of an integer source's codes, or of a float's; null: the type has none.
const NestedForm* nested_form_of(TensorType source);

/// A matrix's first 64 bytes.
struct NestedHeader {
  std::int8_t four[16] = {};  // stand_4, of B = 8; stand_3, stand_2
  std::int8_t three[8] = {};
  std::int8_t two[4] = {};
  std::uint8_t exponent_base = 0;  // of NestedScale::kByte
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
  const std::byte* scales = nullptr;     // [rows, columns / 32], scale_bytes each
  const std::int8_t* offsets = nullptr;  // [rows, columns / 32]
};

/// Group `group`, into out `[form->group_bytes]`.
void write_nested_group(const NestedParts& parts, std::size_t group, std::byte* out);

/// Row `row` of a matrix of so many columns → float32.
void decode_nested_row(const NestedView& view, const std::byte* data, std::size_t columns,
                       std::size_t row, float* out);

/// As WeightMatrix::format of a nested matrix: groups of 32 codes without minima. No row of the
/// table: there is neither block nor unpacking.
extern const TensorFormat kNestedFormat;

}  // namespace sluice

#pragma once
// The table of number formats that weights come in: one row a format.
//
// A quantised row of weights is a run of *blocks*; a block holds *groups* of 16 or 32 consecutive
// codes that share one scale and, in some formats, one minimum:
//
//     weight[i] = scale[i / group] * code[i] + min[i / group]        (code is a small signed
//     integer)
//
// Every quantised format that Sluice reads is such a row: what differs is how a block packs the
// codes and from what the scale is made. In all of them scale, min and scale * code are exact in
// float32 (a half times a power of two and small integers of at most 12 bits together), so `unpack`
// loses nothing, `decode` rounds once where there is a min and never where there is none, and a
// kernel may use fma(scale, code, min) for the same bits.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice {

/// Numbering as in GGUF files; what they lack is numbered from kFirstOwnType on.
enum class TensorType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kF8_E4M3 = 0x10000,
  kNested = 0x10001,  // no row of the table: base/nested_planes.h
};

inline constexpr std::uint32_t kFirstOwnType = 0x10000;

/// One row of the table. Constant, statically allocated.
struct TensorFormat {
  TensorType type;
  std::string_view name;         // as users write it: "Q4_K"
  std::uint32_t block_elements;  // 1 for plain numbers, formats that are not quantised
  std::uint32_t block_bytes;
  std::uint32_t group;  // codes that share a scale: 16 or 32; 0 for plain numbers
  bool has_min;
  bool scale_last;  // a block's bytes beyond whole 32-bit words are its last, not its first
  /// `blocks` → float32 `[elements]`, rounded to nearest where a plain number is none; REQUIRES:
  /// elements is a multiple of block_elements.
  void (*decode)(const std::byte* blocks, float* out, std::size_t elements);
  /// One block → codes `[block_elements]`, scales and mins `[block_elements / group]`; null for
  /// plain numbers. mins is written (with zeros) even where has_min is false.
  void (*unpack)(const std::byte* block, std::int8_t* codes, float* scales, float* mins);

  bool quantised() const { return group != 0; }
  /// F32, F16 or BF16: the numbers themselves, which kernels multiply without decoding.
  bool is_float() const {
    return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16;
  }
  /// Bytes of `elements` values; REQUIRES: elements is a multiple of block_elements.
  std::size_t bytes(std::size_t elements) const { return elements / block_elements * block_bytes; }
};

/// All rows.
std::span<const TensorFormat> tensor_formats();
/// The row of a type, or null for a number that is not in the table.
const TensorFormat* find_tensor_format(TensorType type);
/// The row of a GGUF file's number (which may be any), or null where there is none.
const TensorFormat* find_gguf_format(std::uint32_t number);
/// REQUIRES: the type is in the table.
const TensorFormat& tensor_format(TensorType type);

}  // namespace sluice

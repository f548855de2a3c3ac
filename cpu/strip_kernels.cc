// Formats without codebooks, and how rows become strips.

#include "cpu/strip_kernels.h"

#include <cstring>

#include "base/strip_layout.h"
#include "cpu/dot_kernels.h"
#include "cpu/strip_blocks.h"
#include "cpu/strip_multiply.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Four words of sixteen rows at a time; the last four may overlap those before.
void turn_words(const std::byte* rows, std::size_t row_bytes, std::size_t words, std::byte* strip) {
  for (std::size_t word = 0; word < words; word += 4) {
    const std::size_t first = word + 4 <= words ? word : words - 4;
    Words columns[4];
    transpose_4(rows + 4 * first, row_bytes, columns);
    for (std::size_t j = 0; j < 4; ++j) words_store(strip + 64 * (first + j), columns[j]);
  }
}

/// `count` parts of kBytes, one by one.
template <std::size_t kBytes>
void turn_parts(const std::byte* rows, std::size_t row_bytes, std::size_t n_rows, std::size_t count,
                std::byte* strip) {
  for (std::size_t row = 0; row < kStripRows; ++row) {
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(strip + (i * kStripRows + row) * kBytes, rows + i * kBytes, kBytes);
    }
    if (row + 1 < n_rows) rows += row_bytes;
  }
}

constexpr StripFormat kNone = {};

}  // namespace

const StripFormat& strip_format(const TensorFormat& format) {
  switch (format.type) {
    case TensorType::kQ4_0:
      return kStripFormat<Q4_0Strip>;
    case TensorType::kQ4_1:
      return kStripFormat<Q4_1Strip>;
    case TensorType::kQ5_0:
      return kStripFormat<Q5_0Strip>;
    case TensorType::kQ5_1:
      return kStripFormat<Q5_1Strip>;
    case TensorType::kQ8_0:
      return kStripFormat<Q8_0Strip>;
    case TensorType::kQ2_K:
      return kStripFormat<Q2_KStrip>;
    case TensorType::kQ3_K:
      return kStripFormat<Q3_KStrip>;
    case TensorType::kQ4_K:
      return kStripFormat<Q4_KStrip>;
    case TensorType::kQ5_K:
      return kStripFormat<Q5_KStrip>;
    case TensorType::kQ6_K:
      return kStripFormat<Q6_KStrip>;
    case TensorType::kIQ4_NL:
      return kStripFormat<IQ4_NLStrip>;
    case TensorType::kIQ4_XS:
      return kStripFormat<IQ4_XSStrip>;
    case TensorType::kMXFP4:
      return kStripFormat<MXFP4Strip>;
    case TensorType::kTQ1_0:
      return kStripFormat<TQ1_0Strip>;
    case TensorType::kTQ2_0:
      return kStripFormat<TQ2_0Strip>;
    case TensorType::kIQ2_XXS:
    case TensorType::kIQ2_XS:
    case TensorType::kIQ2_S:
    case TensorType::kIQ3_XXS:
    case TensorType::kIQ3_S:
    case TensorType::kIQ1_S:
    case TensorType::kIQ1_M:
      return codebook_strip_format(format);
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
    case TensorType::kF8_E4M3:
    case TensorType::kNested:
    case TensorType::kF64:
    case TensorType::kI8:
    case TensorType::kI16:
    case TensorType::kI32:
    case TensorType::kI64:
      break;
  }
  return kNone;
}

void to_strip(const TensorFormat& format, const std::byte* rows, std::size_t row_bytes,
              std::size_t n_rows, std::size_t n_blocks, std::byte* strip) {
  const StripBlock parts(format);
  const bool whole = n_rows == kStripRows;
  std::size_t asked_for = 0;
  for (std::size_t i = 0; i < n_blocks; ++i) {
    const std::byte* const block = rows + i * format.block_bytes;
    // Sixteen places at once are more than hardware prefetchers follow: so ask for the next
    // strip's.
    for (; whole && asked_for < (i + 1) * format.block_bytes; asked_for += 64) {
      for (std::size_t row = kStripRows; row < 2 * kStripRows; ++row) {
        prefetch(rows + row * row_bytes + asked_for, 1);
      }
    }
    std::byte* const rest = strip + 64 * parts.words;
    if (whole) {
      turn_words(block + parts.first_word, row_bytes, parts.words, strip);
    } else {
      turn_parts<4>(block + parts.first_word, row_bytes, n_rows, parts.words, strip);
    }
    if (parts.rest_bytes == 2 && whole) {
      gather_halves(block + parts.rest, row_bytes, rest);
    } else if (parts.rest_bytes == 2) {
      turn_parts<2>(block + parts.rest, row_bytes, n_rows, 1, rest);
    } else if (parts.rest_bytes == 1) {
      turn_parts<1>(block + parts.rest, row_bytes, n_rows, 1, rest);
    }
    strip += kStripRows * format.block_bytes;
  }
}

}  // namespace sluice::SLUICE_ISA

#include "base/strip_layout.h"

#include <algorithm>
#include <cstring>

namespace sluice {
namespace {

constexpr std::size_t kMaxBlockBytes = 512;

void scale(const WeightMatrix& matrix, std::size_t row, float* values) {
  const ScaleGrid& grid = matrix.scales;
  if (grid.format == nullptr) return;
  const std::byte* const factors = grid.data + grid.row_offset(row, matrix.columns);
  for (std::size_t i = 0; i < matrix.columns; ++i) {
    float factor = 0;
    grid.format->decode(factors + i / grid.block_columns * grid.format->block_bytes, &factor, 1);
    values[i] *= factor;
  }
}

/// A strip of kStripRows.
void turn_back(const TensorFormat& format, const std::byte* strip, std::size_t row_bytes,
               std::byte* out) {
  const StripBlock parts(format);
  for (std::size_t at = 0; at < row_bytes; at += format.block_bytes) {
    for (std::size_t lane = 0; lane < kStripRows; ++lane) {
      std::byte* const block = out + lane * row_bytes + at;
      for (std::size_t word = 0; word < parts.words; ++word) {
        std::memcpy(block + parts.first_word + 4 * word, strip + 4 * (word * kStripRows + lane), 4);
      }
      std::memcpy(block + parts.rest,
                  strip + 4 * parts.words * kStripRows + lane * parts.rest_bytes, parts.rest_bytes);
    }
    strip += kStripRows * format.block_bytes;
  }
}

/// A strip of so many rows, column by column.
void turn_columns_back(const std::byte* strip, std::size_t rows, std::size_t columns,
                       std::size_t bytes, std::byte* out) {
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t row = 0; row < rows; ++row, strip += bytes) {
      std::memcpy(out + (row * columns + column) * bytes, strip, bytes);
    }
  }
}

}  // namespace

void copy_rows(const WeightMatrix& matrix, std::size_t first, std::size_t count, std::byte* out) {
  const std::size_t row_bytes = matrix.row_bytes();
  const std::size_t end = first + count;
  const std::size_t height = matrix.layout == WeightLayout::kColumnStrips ? kColumnStripRows
                             : matrix.layout == WeightLayout::kStrips     ? kStripRows
                                                                          : count;
  for (std::size_t row = first; row < end; row += height) {
    const std::byte* const strip = matrix.data + row * row_bytes;
    const std::size_t rows = std::min(height, end - row);
    if (matrix.layout == WeightLayout::kColumnStrips) {
      turn_columns_back(strip, rows, matrix.columns, matrix.format->block_bytes, out);
    } else if (matrix.layout == WeightLayout::kStrips && rows == kStripRows) {
      turn_back(*matrix.format, strip, row_bytes, out);
    } else {
      std::memcpy(out, strip, rows * row_bytes);
    }
    out += rows * row_bytes;
  }
}

void decode_row(const WeightMatrix& matrix, std::size_t row, float* out) {
  if (matrix.layout == WeightLayout::kPlanes) {
    return decode_nested_row(matrix.nested, matrix.data, matrix.columns, row, out);
  }
  const TensorFormat& format = *matrix.format;
  const auto decode_column = [&](const std::byte* from, std::size_t stride) {
    for (std::size_t i = 0; i < matrix.columns; ++i) {
      format.decode(from + i * stride * format.block_bytes, out + i, 1);
    }
  };
  if (matrix.layout == WeightLayout::kColumns) {
    return decode_column(matrix.row(row), matrix.column_stride);
  }
  if (matrix.layout == WeightLayout::kColumnStrips) {
    const std::size_t first = row / kColumnStripRows * kColumnStripRows;
    const std::size_t height = std::min(kColumnStripRows, matrix.rows - first);
    return decode_column(matrix.row(first) + (row - first) * format.block_bytes, height);
  }
  const std::size_t strip = row / kStripRows * kStripRows;
  if (matrix.layout == WeightLayout::kRows || strip + kStripRows > matrix.rows) {
    format.decode(matrix.data + row * matrix.row_bytes(), out, matrix.columns);
    return scale(matrix, row, out);
  }
  const StripBlock parts(format);
  const std::size_t lane = row - strip;
  const std::byte* blocks = matrix.data + strip * matrix.row_bytes();
  std::byte block[kMaxBlockBytes];
  for (std::size_t at = 0; at < matrix.columns; at += format.block_elements) {
    for (std::size_t word = 0; word < parts.words; ++word) {
      std::memcpy(block + parts.first_word + 4 * word, blocks + 4 * (word * kStripRows + lane), 4);
    }
    std::memcpy(block + parts.rest, blocks + 4 * parts.words * kStripRows + lane * parts.rest_bytes,
                parts.rest_bytes);
    format.decode(block, out + at, format.block_elements);
    blocks += kStripRows * format.block_bytes;
  }
}

}  // namespace sluice
